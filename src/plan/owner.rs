//! `user` of a `runtime container`: whose name and files in the image the caller has.
//!
//! A sandbox always works with the caller's numbers, so that what it makes in the project is his. What the image has for
//! one of its users is given to him by the backend.

use super::build::problem;
use super::facts::Facts;
use super::{Owner, image};
use crate::config::Config;
use crate::diag::Problem;
use crate::util::passwd::Account;

pub const CODE: &str = "image::user";

/// The longest name of a user, in bytes.
const LONGEST: usize = 32;

/// Returns the user who is asked for; `None` for the caller without any of the image's.
fn asked(config: &Config) -> Option<&str> {
    image::asked(config)?.user.as_deref().filter(|user| *user != "host")
}

/// Says whether the text can be a user's name, or a number.
fn is_user(text: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= LONGEST
        && text.starts_with(is_start)
        && text.chars().all(|c| is_start(c) || "-.".contains(c))
        && (!text.bytes().all(|byte| byte.is_ascii_digit()) || text.parse::<u32>().is_ok())
}

/// A message, and what to do.
type Refusal = (String, &'static str);

fn is_root(user: &str) -> Refusal {
    let message = format!("`user \"{user}\"` is root, as whom no sandbox works");
    (message, "leave it out: the sandbox has the caller's own numbers")
}

/// Returns what is wrong with the user who is asked for, whatever the image has.
pub fn refusal(config: &Config) -> Option<Refusal> {
    match asked(config)? {
        user if !is_user(user) => {
            Some((format!("`{user}` is no user of an image"), "write its name, or its number"))
        }
        user if user == "root" || user.parse() == Ok(0_u64) => Some(is_root(user)),
        _ => None,
    }
}

/// Returns the user, as far as it can be known, or why it cannot be that one.
fn find(config: &Config, facts: &Facts) -> Result<Option<Account>, Refusal> {
    let Some((user, image)) = asked(config).zip(facts.image.as_ref()) else { return Ok(None) };
    match Account::find(user, &image.passwd) {
        Some(Account { uid: 0, .. }) => Err(is_root(user)),
        Some(found) => Ok(Some(found)),
        None => Err((
            format!("the image has no user `{user}`"),
            "name one that its `/etc/passwd` has, or leave it out",
        )),
    }
}

/// Returns what is wrong with the user who is asked for, in the image that there is.
pub fn problems(config: &Config, facts: &Facts) -> Option<Problem> {
    let (message, help) = find(config, facts).err()?;
    Some(problem(CODE, &config.runtime.origin, "this runtime", message).help(help))
}

/// Returns the name that the caller has in the sandbox: the user's, or pier's own.
pub fn name(config: &Config, facts: &Facts, own: &str) -> String {
    let found = find(config, facts).ok().flatten().map(|account| account.name);
    // One that is only a number in the image has no name; an image may have any text for one.
    let is_name = |name: &String| is_user(name) && !name.bytes().all(|byte| byte.is_ascii_digit());
    let named = found.or_else(|| asked(config).map(str::to_owned)).filter(is_name);
    named.unwrap_or_else(|| own.to_owned())
}

/// Returns whose files are to be the caller's.
pub fn owner(config: &Config, facts: &Facts) -> Option<Owner> {
    let Account { name, uid, gid, .. } = find(config, facts).ok()??;
    ((uid, gid) != (facts.uid, facts.gid)).then_some(Owner { name, uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_from_everything_else() {
        for user in ["app", "_apt", "www-data", "a.b", "1001", "0day"] {
            assert!(is_user(user), "{user}");
        }
        for other in ["", "-x", "a b", "a:b", "a\nb", "é", "4294967296", &"a".repeat(33)] {
            assert!(!is_user(other), "{other}");
        }
    }
}
