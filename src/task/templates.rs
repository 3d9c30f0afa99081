//! Values of the host in a task: `${NAME}` and `${NAME:-default}`.
//!
//! In variables a template is the whole value, and anything else stands as it is. In the headers of MCP servers
//! templates stand anywhere in the text. No shell reads either.

use super::Variables;
use crate::util::text::escape;

/// The templates of some variables that the host has no value for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Missing {
    /// The variable that is to be set, and the name that the host lacks; sorted.
    pub names: Vec<(String, String)>,
}

impl Missing {
    fn sentence(&self) -> String {
        let one = |(variable, name): &(String, String)| {
            let (variable, name) = (escape(variable), escape(name));
            if variable == name { format!("`{name}`") } else { format!("`{name}` (for `{variable}`)") }
        };
        let names: Vec<String> = self.names.iter().map(one).collect();
        format!("not set on this host, and without a default: {}", names.join(", "))
    }
}

/// A whole value that is a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template<'a> {
    pub name: &'a str,
    pub default: Option<&'a str>,
}

impl<'a> Template<'a> {
    /// Returns the template that a value is; `None` where it stands for itself.
    pub fn of(value: &'a str) -> Option<Self> {
        let inner = value.strip_prefix("${")?.strip_suffix('}')?;
        let end = inner.find([':', '}']).unwrap_or(inner.len());
        let (name, rest) = inner.split_at(end);
        let default = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(":-").filter(|default| !default.contains('\n'))?),
        };
        (!name.is_empty()).then_some(Template { name, default })
    }
}

/// Returns the variables with the host's values in them.
///
/// # Errors
/// Names every variable that is not to be had.
pub fn resolve(variables: &Variables, host: impl Fn(&str) -> Option<String>) -> Result<Variables, Missing> {
    let mut resolved = Variables::new();
    let mut names = Vec::new();
    for (variable, value) in variables {
        let Some(template) = Template::of(value) else {
            resolved.insert(variable.clone(), value.clone());
            continue;
        };
        match host(template.name).or_else(|| template.default.map(str::to_owned)) {
            Some(value) => drop(resolved.insert(variable.clone(), value)),
            None => names.push((variable.clone(), template.name.to_owned())),
        }
    }
    if names.is_empty() { Ok(resolved) } else { Err(Missing { names }) }
}

/// A piece of a text with templates in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Template(Template<'a>),
}

/// Takes the text of a header apart; `None` where a `${` in it begins no template.
pub fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, template) = rest.split_at(start);
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let end = template.find('}')?;
        let (template, behind) = template.split_at(end + 1);
        let template = Template::of(template).filter(is_plain)?;
        pieces.push(Piece::Template(template));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Some(pieces)
}

/// Says whether the name is that of a variable, and the default holds no other template.
fn is_plain(template: &Template<'_>) -> bool {
    let name = template.name.strip_prefix(|c: char| c == '_' || c.is_ascii_alphabetic());
    name.is_some_and(|rest| rest.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()))
        && template.default.is_none_or(|default| !default.contains("${"))
}

/// Returns the text of a header with the host's values in it; `Err` has the names that are missing.
pub fn fill(pieces: &[Piece<'_>], host: impl Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut filled = String::new();
    let mut missing = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Template(Template { name, default }) => {
                match host(name).or_else(|| default.map(str::to_owned)) {
                    Some(value) => filled.push_str(&value),
                    None => missing.push((*name).to_owned()),
                }
            }
        }
    }
    if missing.is_empty() { Ok(filled) } else { Err(missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Option<String> {
        (name == "SET").then(|| "value".to_owned())
    }

    fn resolved(value: &str) -> Result<String, Missing> {
        let variables = Variables::from([("V".to_owned(), value.to_owned())]);
        resolve(&variables, host).map(|mut resolved| resolved.remove("V").unwrap())
    }

    #[test]
    fn only_a_whole_value_is_a_template() {
        let cases = [
            ("${SET}", "value"),
            ("${SET:-default}", "value"),
            ("${UNSET:-default}", "default"),
            ("${UNSET:-}", ""),
            ("${UNSET:-a}b}", "a}b"),
            ("${UNSET:-${SET}}", "${SET}"),
            ("x${SET}", "x${SET}"),
            ("${SET}\n", "${SET}\n"),
            ("$SET", "$SET"),
            ("${}", "${}"),
            ("${:-a}", "${:-a}"),
            ("${SET:a}", "${SET:a}"),
            ("${UNSET:-a\nb}", "${UNSET:-a\nb}"),
            ("${SET}x}", "${SET}x}"),
        ];
        for (value, expected) in cases {
            assert_eq!(resolved(value).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn every_missing_name_is_reported() {
        let variables = [("A", "${ONE}"), ("TWO", "${TWO}"), ("C", "${SET}")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let error = resolve(&variables, host).unwrap_err();
        let expected = "not set on this host, and without a default: `ONE` (for `A`), `TWO`";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn templates_stand_anywhere_in_a_header() {
        let pieces = pieces("Bearer ${SET}:${UNSET:-x}.").unwrap();
        assert_eq!(fill(&pieces, host), Ok("Bearer value:x.".to_owned()));
        for text in ["${", "${}", "a ${1X}", "${A:b}", "${A-B}", "${A:-${B}}", "${A${B}}"] {
            assert_eq!(super::pieces(text), None, "{text}");
        }
        assert_eq!(fill(&super::pieces("${A}${B}").unwrap(), host), Err(vec!["A".into(), "B".into()]));
    }

    proptest::proptest! {
        #[test]
        fn a_value_without_a_dollar_is_itself(value in "[^$]{0,20}") {
            proptest::prop_assert_eq!(resolved(&value), Ok(value.clone()));
        }

        #[test]
        fn a_default_is_what_is_written(default in "[^\n]{0,20}") {
            proptest::prop_assert_eq!(resolved(&format!("${{UNSET:-{default}}}")), Ok(default));
        }

        #[test]
        fn pieces_put_together_are_the_text(text in "([a-z ${}:-]|\\$\\{A\\}|\\$\\{B:-c\\}){0,12}") {
            if let Some(pieces) = pieces(&text) {
                let whole: String = pieces.iter().map(|piece| match piece {
                    Piece::Text(text) => (*text).to_owned(),
                    Piece::Template(Template { name, default: None }) => format!("${{{name}}}"),
                    Piece::Template(Template { name, default: Some(default) }) => {
                        format!("${{{name}:-{default}}}")
                    }
                }).collect();
                proptest::prop_assert_eq!(whole, text);
            }
        }
    }
}
