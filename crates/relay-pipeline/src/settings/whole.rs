//! Whether a file says all that settings hold.

use relay_train::value_text;
use serde_json::Value;

/// What of the settings `read` is not in what was `given` for them, if something is not: a field that fell back to its default, or
/// an object whose fields were given as a list, one behind the other. `place` is the path to both.
///
/// What has its default and is left out of files then is not in `read` either.
pub(super) fn fault(place: &str, given: &Value, read: &Value) -> Option<String> {
    let below = |key: &str| match place {
        "" => key.to_owned(),
        place => format!("{place}.{key}"),
    };
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => {
            read.iter().find_map(|(key, read)| match given.get(key) {
                Some(given) => fault(&below(key), given, read),
                None => Some(format!(
                    "{} is missing; its default is {}",
                    below(key),
                    value_text(read)
                )),
            })
        }
        (Value::Array(given), Value::Array(read)) => {
            let mut pairs = given.iter().zip(read).enumerate();
            pairs.find_map(|(index, (given, read))| fault(&below(&index.to_string()), given, read))
        }
        (Value::Array(_), Value::Object(_)) => {
            Some(format!("{place} is a list, must be an object"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_given_is_named_by_its_path() {
        let read = json!({ "a": [{ "b": 1, "c": 2 }] });
        let of = |given: Value| fault("", &given, &read);
        assert_eq!(of(read.clone()), None);
        let missing = of(json!({ "a": [{ "b": 1 }] })).unwrap();
        assert_eq!(missing, "a.0.c is missing; its default is 2");
        let single = fault("", &json!({}), &json!({ "lambda": 0.1_f32 })).unwrap();
        assert_eq!(single, "lambda is missing; its default is 0.1");
        let list = of(json!({ "a": [[1, 2]] })).unwrap();
        assert_eq!(list, "a.0 is a list, must be an object");
    }
}
