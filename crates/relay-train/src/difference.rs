//! Where settings differ.

use serde_json::Value;

/// Path, held and wanted value of the first place in which two JSON values differ, as text. A field that is missing counts
/// as one that is `null`, and 1 is 1.0. The path begins with `path`, which may be empty.
///
/// ```
/// use relay_train::first_difference;
/// use serde_json::json;
///
/// let held = json!({ "steps": 9, "weights": [1, 2] });
/// let wanted = json!({ "steps": 9, "weights": [1, 3] });
/// let found = first_difference("training", &held, &wanted);
/// assert_eq!(found, Some(("training.weights[1]".to_owned(), "2".to_owned(), "3".to_owned())));
/// ```
pub fn first_difference(
    path: &str,
    held: &Value,
    wanted: &Value,
) -> Option<(String, String, String)> {
    match (held, wanted) {
        (Value::Object(a), Value::Object(b)) => {
            let dot = if path.is_empty() { "" } else { "." };
            let field = |map: &serde_json::Map<String, Value>, key: &str| {
                map.get(key).cloned().unwrap_or(Value::Null)
            };
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.map(|key| (key, field(a, key), field(b, key)))
                .find_map(|(key, a, b)| first_difference(&format!("{path}{dot}{key}"), &a, &b))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => (0..)
            .zip(a.iter().zip(b))
            .find_map(|(place, (a, b))| first_difference(&format!("{path}[{place}]"), a, b)),
        _ if held == wanted || same_number(held, wanted) => None,
        _ => Some((path.to_owned(), value_text(held), value_text(wanted))),
    }
}

/// A JSON value as text; a number of 32 bits with the digits that it was given by, and not with those of 64 bits.
pub fn value_text(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && f64::from(number as f32) == number => {
            format!("{:?}", number as f32)
        }
        _ => value.to_string(),
    }
}

/// Whether both are one number, whichever way it is written: tools that rewrite JSON make 0 of 0.0.
fn same_number(held: &Value, wanted: &Value) -> bool {
    let whole = |value: &Value| value.is_u64() || value.is_i64();
    // Whole numbers beyond 2^53 would be rounded.
    !(whole(held) && whole(wanted)) && held.is_number() && held.as_f64() == wanted.as_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_and_places_are_named() {
        let differ = |path, held: Value, wanted: Value| {
            first_difference(path, &held, &wanted)
                .map(|(field, held, wanted)| format!("{field}: {held}, {wanted}"))
        };
        let same = json!({ "a": [1, { "b": null }], "c": "x" });
        assert_eq!(differ("", same.clone(), same), None);
        let single = differ("lambda", json!(0.7_f32), json!(0.8_f32)).unwrap();
        assert_eq!(single, "lambda: 0.7, 0.8");
        let double = differ("rate", json!(0.7), json!(1e-30)).unwrap();
        assert_eq!(double, "rate: 0.7, 1e-30");
        let (held, wanted) = (
            json!({ "a": { "b": [1, 2] } }),
            json!({ "a": { "b": [1] } }),
        );
        assert_eq!(
            differ("", held.clone(), wanted.clone()).unwrap(),
            "a.b: [1,2], [1]"
        );
        assert_eq!(
            differ("model", held, wanted).unwrap(),
            "model.a.b: [1,2], [1]"
        );
        let (held, wanted) = (json!([0, { "a": 1 }]), json!([0, { "a": 2 }]));
        assert_eq!(differ("", held, wanted).unwrap(), "[1].a: 1, 2");
        assert_eq!(
            differ("", json!({}), json!({ "a": 2 })).unwrap(),
            "a: null, 2"
        );
        assert_eq!(differ("", json!({ "a": null }), json!({})), None);
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let differ = |held: &str, wanted: &str| {
            let [held, wanted] = [held, wanted].map(|text| serde_json::from_str(text).unwrap());
            first_difference("", &held, &wanted).is_some()
        };
        assert!(!differ("[0, 1e3, -0.0]", "[0.0, 1000, 0]"));
        assert!(differ("1", "1.5"));
        assert!(differ("9007199254740993", "9007199254740992"));
        assert!(differ("0", "null") && differ("1", "\"1\""));
    }
}
