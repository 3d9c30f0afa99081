//! An object of a log, of which each field is read when somebody asks for it: a field of another type than expected is missing, and
//! the others are there.

use std::borrow::Cow;
use std::cell::Cell;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object, in its order.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// The first field that should be a number of tokens, and is none: less than nothing, more than there can be, or no number.
#[derive(Debug, Default)]
pub struct Odd(Cell<Option<&'static str>>);

impl Odd {
    pub fn name(&self) -> Option<&'static str> {
        self.0.get()
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// Where the text is none.
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Reads what is there of an object that may be broken somewhere, and of the elements of the array of this name in it, which
    /// is none of the fields then. The last word is what is wrong.
    pub fn parse_parts(text: &'a str, array: &str) -> (Self, Vec<&'a RawValue>, serde_json::Result<()>) {
        let mut parts = Parts { array, fields: Fields::default(), elements: Vec::new() };
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = parts.read(&mut reader).and_then(|()| reader.end());
        (parts.fields, parts.elements, read)
    }

    pub fn of(raw: &'a RawValue) -> Option<Self> {
        raw.get().starts_with('{').then(|| Fields::parse(raw.get()).ok())?
    }

    /// Returns a value that is not `null`; the last one of its name.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| *value);
        found.filter(|value| value.get() != "null")
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        text(self.get(key)?)
    }

    /// Returns a text that is not empty.
    pub fn word(&self, key: &str) -> Option<Cow<'a, str>> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// The same, for whoever keeps it.
    pub fn owned(&self, key: &str) -> Option<String> {
        self.word(key).map(Cow::into_owned)
    }

    pub fn is(&self, key: &str, expected: &str) -> bool {
        self.text(key).is_some_and(|text| text == expected)
    }

    pub fn truth(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get() == "true")
    }

    /// Returns a number that is not negative; a fraction is left out, and so is what is larger than any program can mean: not
    /// every reader of JSON has such numbers.
    pub fn count(&self, key: &str) -> Option<u64> {
        let text = self.get(key)?.get();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range")]
        let whole = |float: f64| (0.0..9e15).contains(&float).then_some(float as u64);
        match text.parse() {
            Ok(number) => Some(number).filter(|number| *number < 9_000_000_000_000_000),
            Err(_) => whole(text.parse().ok()?),
        }
    }

    /// Returns a number of tokens; where something else is in its place, that is remembered.
    pub fn tokens(&self, key: &'static str, odd: &Odd) -> Option<u64> {
        let count = self.count(key);
        if count.is_none() && self.has(key) {
            odd.0.set(odd.0.get().or(Some(key)));
        }
        count
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        self.get(key)?.get().parse().ok().filter(|number: &f64| number.is_finite())
    }

    pub fn object(&self, key: &str) -> Option<Fields<'a>> {
        Fields::of(self.get(key)?)
    }

    /// Returns the elements of an array; none where it is no array.
    pub fn list(&self, key: &str) -> Vec<&'a RawValue> {
        self.get(key).map(list).unwrap_or_default()
    }

    /// Returns the objects of an array, and leaves out what is none.
    pub fn objects(&self, key: &str) -> Vec<Fields<'a>> {
        self.list(key).into_iter().filter_map(Fields::of).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (&**key, *value))
    }
}

/// Reads a text; `None` for a value of another type.
pub fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    raw.get().starts_with('"').then(|| serde_json::from_str(raw.get()).ok().map(|Text(text)| text))?
}

/// Reads the elements of an array; none where it is no array.
pub fn list(raw: &RawValue) -> Vec<&RawValue> {
    if raw.get().starts_with('[') { serde_json::from_str(raw.get()).unwrap_or_default() } else { Vec::new() }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((Text(key), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// An object that is read as far as it can be.
struct Parts<'a, 'b> {
    array: &'b str,
    fields: Fields<'a>,
    elements: Vec<&'a RawValue>,
}

impl<'de> Parts<'de, '_> {
    fn read<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        struct Object<'de, 'b, 'c>(&'c mut Parts<'de, 'b>);
        impl<'de> Visitor<'de> for Object<'de, '_, '_> {
            type Value = ();

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
                    if key == self.0.array {
                        map.next_value_seed(Elements(&mut self.0.elements))?;
                    } else {
                        let value = map.next_value()?;
                        self.0.fields.0.push((key, value));
                    }
                }
                Ok(())
            }
        }
        deserializer.deserialize_map(Object(self))
    }
}

/// The elements of an array, as many as there are.
struct Elements<'de, 'b>(&'b mut Vec<&'de RawValue>);

impl<'de> DeserializeSeed<'de> for Elements<'de, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'de, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element()? {
            self.0.push(element);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_broken_object_what_is_before_the_break_is_there() {
        let whole = r#"{"a":{"b":1},"list":[{"x":1},[2],"three"],"c":4}"#;
        let (fields, elements, read) = Fields::parse_parts(whole, "list");
        assert!(read.is_ok() && fields.has("a") && fields.count("c") == Some(4) && !fields.has("list"));
        assert_eq!(elements.len(), 3);
        for (end, kept) in [(19, 0), (29, 1), (33, 2), (36, 2), (41, 3)] {
            let (fields, elements, read) = Fields::parse_parts(&whole[..end], "list");
            assert!(read.is_err() && fields.has("a"), "{end}");
            assert_eq!(elements.len(), kept, "{}", &whole[..end]);
        }
        let (fields, elements, read) = Fields::parse_parts(r#"{"a":1,"list":null}"#, "list");
        assert!(read.is_err() && elements.is_empty() && fields.has("a"));
        assert!(Fields::parse_parts("[]", "list").2.is_err());
    }

    #[test]
    fn a_field_of_another_type_is_missing_and_the_others_are_there() {
        let fields = Fields::parse(
            r#"{"a":"x\n","b":null,"c":3,"d":-1,"e":1.5,"f":[1,{"g":true}],"a\u0041":"y","c":4,"h":1e400}"#,
        )
        .unwrap();
        assert_eq!(fields.text("a").unwrap(), "x\n");
        assert!(fields.text("b").is_none() && fields.text("c").is_none() && fields.get("b").is_none());
        assert_eq!((fields.count("c"), fields.count("d"), fields.count("e")), (Some(4), None, Some(1)));
        assert_eq!((fields.float("e"), fields.float("h"), fields.float("a")), (Some(1.5), None, None));
        assert_eq!(fields.list("f").len(), 2);
        assert!(fields.objects("f")[0].truth("g"));
        assert_eq!(fields.text("aA").unwrap(), "y");
        assert!(Fields::parse("[]").is_err() && Fields::parse("{").is_err());
    }
}
