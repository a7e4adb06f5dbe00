//! Dialects: the settings of a task that change what its problems and steps mean.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The settings of a task that a checkpoint or a data file has to remember.
///
/// Two dialects are the same when they are equal as JSON, whatever the order of the fields. Which problems a task draws depends
/// on the order, too, so a task has to keep it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dialect(Map<String, Value>);

impl Dialect {
    /// A dialect of the given settings.
    pub fn new<K: Into<String>>(settings: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self(
            settings
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }

    /// A dialect of the fields of `settings`; what is no JSON object stands under `settings`.
    pub fn of<T: Serialize>(settings: &T) -> Self {
        match serde_json::to_value(settings) {
            Ok(Value::Object(fields)) => Self(fields),
            Ok(other) => Self::new([("settings", other)]),
            // Settings are plain data; whatever could not be written still has to tell itself apart.
            Err(error) => Self::new([("unreadable", Value::String(error.to_string()))]),
        }
    }

    /// One setting.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {value}", Value::from(name.as_str()))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_fields_does_not_matter() {
        let one: Dialect = serde_json::from_str(r#"{"p": 11, "order": {"a": 1, "b": 2}}"#).unwrap();
        let other: Dialect =
            serde_json::from_str(r#"{"order": {"b": 2, "a": 1}, "p": 11}"#).unwrap();
        let third: Dialect =
            serde_json::from_str(r#"{"order": {"b": 2, "a": 1}, "p": 7}"#).unwrap();
        assert_eq!(one, other);
        assert_ne!(one, third);
        assert_eq!(one.get("p"), Some(&Value::from(11)));
    }

    #[test]
    fn it_is_shown_as_one_line_of_json() {
        let dialect = Dialect::new([("p", Value::from(11)), ("a \"b\"", Value::from("x"))]);
        assert_eq!(dialect.to_string(), r#"{"p": 11, "a \"b\"": "x"}"#);
        assert_eq!(
            serde_json::from_str::<Dialect>(&dialect.to_string()).unwrap(),
            dialect
        );
        assert_eq!(Dialect::default().to_string(), "{}");
        assert!(serde_json::from_str::<Dialect>("3").is_err());
    }

    #[test]
    fn settings_that_are_no_object_still_tell_themselves_apart() {
        assert_ne!(Dialect::of(&3), Dialect::of(&4));
        assert_ne!(Dialect::of(&3), Dialect::default());
    }
}
