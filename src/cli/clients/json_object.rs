//! A JSON object whose unknown members stay as they are: their order, and every character of their values.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object, in the order of its text.
#[derive(Debug)]
pub(super) struct JsonObject {
    members: Vec<(String, Box<RawValue>)>,
    /// The blanks before a member.
    indent: String,
}

struct Members(Vec<(String, Box<RawValue>)>);

impl JsonObject {
    /// Reads an object; an empty text is an empty one.
    ///
    /// # Errors
    /// A sentence: the text is not JSON, not an object, or has a member twice.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self { members: Vec::new(), indent: "  ".to_owned() });
        }
        let Members(members) = serde_json::from_str(text)
            .map_err(|error| format!("it is not a JSON object, and stays as it is: {error}"))?;
        let line = text.lines().find(|line| line.trim_start().starts_with('"'));
        let indent = line.map_or("", |line| &line[..line.len() - line.trim_start().len()]);
        let indent = if indent.is_empty() { "  " } else { indent };
        Ok(Self { members, indent: indent.to_owned() })
    }

    /// Puts a text to the beginning of a list of texts, unless the list has it.
    ///
    /// # Errors
    /// The member is not a list of texts.
    pub(super) fn put_first(&mut self, name: &str, text: Option<&str>) -> Result<(), String> {
        let Some(text) = text else { return Ok(()) };
        let place = self.members.iter().position(|(known, _)| known == name);
        let mut list: Vec<String> = match place {
            Some(place) => serde_json::from_str(self.members[place].1.get())
                .map_err(|_| format!("{name} is not a list of texts, and the file stays as it is"))?,
            None => Vec::new(),
        };
        if list.iter().any(|known| known.trim_end_matches('/') == text) {
            return Ok(());
        }
        list.insert(0, text.to_owned());
        let list = RawValue::from_string(one_line(&list)).map_err(|error| error.to_string())?;
        match place {
            Some(place) => self.members[place].1 = list,
            None => self.members.push((name.to_owned(), list)),
        }
        Ok(())
    }
}

/// A list of texts in one line, with blanks as people write them.
fn one_line(list: &[String]) -> String {
    let texts: Vec<_> = list.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
    format!("[{}]", texts.join(", "))
}

impl fmt::Display for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\n")?;
        for (at, (name, value)) in self.members.iter().enumerate() {
            let name = serde_json::Value::from(name.as_str());
            let comma = if at + 1 < self.members.len() { "," } else { "" };
            writeln!(f, "{}{name}: {value}{comma}", self.indent)?;
        }
        f.write_str("}\n")
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("{name} is there twice")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_stays_as_it_is() {
        let text = "{\n    \"log-opts\": {\"max-size\": \"10m\",\n        \"x\": 1.0},\n    \"a\": [ 1e3 ],\n    \
                    \"registry-mirrors\": [\"https://other.example/\"]\n}\n";
        let mut object = JsonObject::parse(text).unwrap();
        object.put_first("registry-mirrors", None).unwrap();
        assert_eq!(object.to_string(), text);
        object.put_first("registry-mirrors", Some("https://pounce.example")).unwrap();
        let merged = text.replace("[\"https://other", "[\"https://pounce.example\", \"https://other");
        assert_eq!(object.to_string(), merged);
        let mut again = JsonObject::parse(&merged).unwrap();
        for known in ["https://pounce.example", "https://other.example"] {
            again.put_first("registry-mirrors", Some(known)).unwrap();
        }
        assert_eq!(again.to_string(), merged);
        again.put_first("a\"b", Some("x\"\n")).unwrap();
        assert!(again.to_string().ends_with(",\n    \"a\\\"b\": [\"x\\\"\\n\"]\n}\n"), "{again}");
    }

    #[test]
    fn what_is_no_object_of_lists_is_refused() {
        for text in ["[]", "{", "{} x", "// hi\n{}", "{\"a\": 1, \"a\": 2}", "null"] {
            assert!(JsonObject::parse(text).is_err(), "{text}");
        }
        for value in ["\"x\"", "[1]", "{}", "null"] {
            let mut object = JsonObject::parse(&format!("{{\"registry-mirrors\": {value}}}")).unwrap();
            assert!(object.put_first("registry-mirrors", Some("x")).is_err(), "{value}");
        }
    }
}
