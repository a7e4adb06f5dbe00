//! Settings changed by path: `looped_aligned.lambda=0.1`.

use std::{fmt, str::FromStr};

use relay_train::first_difference;
use serde_json::Value;

use crate::{
    DataSettings, PipelineError, Result, Settings,
    arms::{LOOPED_ALIGNED, LOOPED_VANILLA},
    json::to_value,
};

mod place;
mod words;

use place::put;
use words::{AN_OBJECT, not_read_back};

pub(crate) use words::in_words;

/// One changed setting, `PATH=VALUE` as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Where the setting stands; see [`Settings::set`].
    pub path: String,
    /// Its value as JSON; a word needs no quotes.
    pub value: String,
}

impl FromStr for Override {
    type Err = PipelineError;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() && !value.trim().is_empty() => {
                Ok(Self {
                    path: path.trim().to_owned(),
                    value: value.trim().to_owned(),
                })
            }
            _ => Err(PipelineError::settings(
                format!("`{text}`"),
                "no change of a setting",
                "PATH=VALUE, such as looped_aligned.lambda=0.1",
            )),
        }
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.path, self.value)
    }
}

impl Settings {
    /// Changes the setting at `path`, the names in `settings.json` joined by dots; a number is a place in a list.
    ///
    /// `value` is JSON; what is no JSON is a word, so that `none` means `"none"`. Three beginnings are short for others:
    /// `stage1.` for `looped_aligned.`, `stage2.` for `ar_relay.`, and `model.` for `looped.transformer.` and
    /// `causal.transformer.` both.
    ///
    /// The settings as a whole are not checked, because some values are right only once another one has been changed too;
    /// [`with`](Self::with) does.
    ///
    /// ```
    /// let mut settings = relay_pipeline::preset("mini", 1)?;
    /// settings.set("stage1.lambda", "0.5")?;
    /// settings.set("data.generated.0.train.1", "5")?;
    /// assert_eq!(settings.looped_aligned.lambda, 0.5);
    /// # Ok::<(), relay_pipeline::PipelineError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such setting (what there is is listed), it is one that a run derives from others, the value is of
    /// another kind, or an object leaves out a field that would fall back to its default; path and value are named.
    pub fn set(&mut self, path: &str, value: &str) -> Result<()> {
        let before = to_value(self)?;
        let mut json = before.clone();
        let parsed = json_or_word(value);
        for full in full_paths(path) {
            refuse_without_effect(&full, path, value)?;
            put(&mut json, &full, path, parsed.clone())?;
        }
        let settings: Self = serde_json::from_value(json.clone())
            .map_err(|e| not_read_back(path, value, &e.to_string()))?;
        let read = to_value(&settings)?;
        for full in full_paths(path) {
            let at = format!("/{}", full.replace('.', "/"));
            if (read.pointer(&at)).is_some_and(|read| list_for_object(&parsed, read)) {
                return Err(PipelineError::settings(path, value, AN_OBJECT));
            }
            let was = before.pointer(&at).unwrap_or(&Value::Null);
            if let Some(lost) = lost(was, &parsed, &at, &json, &read) {
                let right = format!(
                    "an object that has `{lost}`, too: left out, it would have its default; or set its fields one by one, such \
                     as {path}.NAME=VALUE"
                );
                return Err(PipelineError::settings(path, value, right));
            }
        }
        *self = settings;
        Ok(())
    }

    /// These settings with all of `overrides`, checked.
    ///
    /// # Errors
    /// As [`set`](Self::set), and when a value is out of its range or several do not go together.
    pub fn with(&self, overrides: &[Override]) -> Result<Self> {
        let mut settings = self.clone();
        for Override { path, value } in overrides {
            settings.set(path, value)?;
        }
        match settings.validate() {
            Ok(()) => Ok(settings),
            Err(error) => Err(self.blamed(overrides, error)),
        }
    }

    /// The error of `overrides` together, as one of that change which is to blame where it can be told: it is named as it was
    /// given.
    fn blamed(&self, overrides: &[Override], together: PipelineError) -> PipelineError {
        let error_of = |overrides: &[&Override]| {
            let mut settings = self.clone();
            let mut set = overrides.iter();
            set.try_for_each(|one| settings.set(&one.path, &one.value))
                .and_then(|()| settings.validate())
                .err()
        };
        let names = |error: &PipelineError, one: &Override| match error {
            PipelineError::Settings { field, .. } => self.concerns(field, &one.path),
            _ => false,
        };
        // What is wrong by itself may be right beside the others, and one of them wrong all the same.
        let alone = |one: &&Override| error_of(&[*one]).is_some_and(|error| names(&error, one));
        let (wrong, others): (Vec<_>, Vec<_>) = overrides.iter().partition(alone);
        for one in wrong {
            let beside: Vec<_> = others.iter().copied().chain([one]).collect();
            if let Some(error) = error_of(&beside).filter(|error| names(error, one)) {
                return one.blame(error);
            }
        }
        match overrides {
            [one] => one.blame_for(together),
            _ => match overrides.iter().find(|one| names(&together, one)) {
                Some(one) => one.blame(together),
                None => together,
            },
        }
    }

    /// Whether an error of the setting `field` may be of the value at `path`: it is that, a part of it, or what it is part of.
    fn concerns(&self, field: &str, path: &str) -> bool {
        // Behind a comma stands which entry of a table it is.
        let field = field.split(',').next().unwrap_or(field);
        full_paths(path)
            .iter()
            .any(|full| overlap(field, &self.with_task_name(full)))
    }

    /// The path of a setting of a task, which errors name by the task and files by its place.
    fn with_task_name(&self, full: &str) -> String {
        let named = full.strip_prefix("data.generated.").and_then(|rest| {
            let (place, rest) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
            let DataSettings::Generated(tasks) = &self.data else {
                return None;
            };
            let task = tasks.get(place.parse::<usize>().ok()?)?;
            Some(format!("data.{}{rest}", task.name()))
        });
        named.unwrap_or_else(|| full.to_owned())
    }
}

impl Override {
    /// The error of a check of this value, under the name that it was given by.
    fn blame(&self, error: PipelineError) -> PipelineError {
        match error {
            PipelineError::Settings { right, .. } => {
                PipelineError::settings(&self.path, &self.value, right)
            }
            other => other,
        }
    }

    /// The error of a check of another setting that this value does not go with.
    fn blame_for(&self, error: PipelineError) -> PipelineError {
        let right = match error {
            PipelineError::Settings { right, .. } if right.starts_with("such that ") => right,
            PipelineError::Settings {
                field,
                found,
                right,
            } => format!("such that {field}, which is {found}, is {right}"),
            other => format!("such that the settings are valid: {other}"),
        };
        PipelineError::settings(&self.path, &self.value, right)
    }
}

/// The value that a text stands for: JSON, or else a word.
pub(crate) fn json_or_word(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// The paths in `settings.json` that `path` stands for.
pub(crate) fn full_paths(path: &str) -> Vec<String> {
    let (first, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
    let places: &[&str] = match first {
        "stage1" => &["looped_aligned"],
        "stage2" => &["ar_relay"],
        "model" => &["looped.transformer", "causal.transformer"],
        _ => return vec![path.to_owned()],
    };
    places
        .iter()
        .map(|place| format!("{place}{rest}"))
        .collect()
}

/// Whether two full paths lead to the same setting, or one to a part of what the other leads to.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    within(one, other) || within(other, one)
}

/// That a setting is not one of those that a run derives from others: it would change nothing.
fn refuse_without_effect(full: &str, path: &str, value: &str) -> Result<()> {
    let stage = full.split('.').next().unwrap_or(full);
    let right = if full.ends_with(".train.seed") {
        "left alone: every training draws its seed from that of the run"
    } else if full.ends_with(".vocab") {
        "left alone: the data say how many tokens there are"
    } else if full.ends_with(".lambda") && stage != LOOPED_ALIGNED {
        "left alone: looped_aligned alone has a loss of steps that it weights"
    } else if full.ends_with(".checkpoint_iterations")
        && ![LOOPED_ALIGNED, LOOPED_VANILLA].contains(&stage)
    {
        "left alone: looped_aligned and looped_vanilla alone have iterations"
    } else {
        return Ok(());
    };
    Err(PipelineError::settings(path, value, right))
}

/// A field of the object `was` that the one `given` for it, at `at` in `json`, leaves out, and that has another value by that in
/// what was `read` of it.
fn lost(was: &Value, given: &Value, at: &str, json: &Value, read: &Value) -> Option<String> {
    let (Value::Object(was), Value::Object(given)) = (was, given) else {
        return None;
    };
    was.iter().find_map(|(name, was)| {
        if let Some(given) = given.get(name) {
            let inner = lost(was, given, &format!("{at}/{name}"), json, read);
            return inner.map(|inner| format!("{name}.{inner}"));
        }
        let mut with = json.clone();
        let place = with.pointer_mut(at).and_then(Value::as_object_mut)?;
        place.insert(name.clone(), was.clone());
        // What cannot be read with it is of another kind, such as another optimizer.
        let settings: Settings = serde_json::from_value(with).ok()?;
        let changed = first_difference("", read, &to_value(&settings).ok()?);
        changed.map(|_| name.clone())
    })
}

/// Whether a list was given where an object is read: its items would pass for the fields, in their order.
fn list_for_object(given: &Value, read: &Value) -> bool {
    match (given, read) {
        (Value::Array(_), Value::Object(_)) => true,
        (Value::Array(given), Value::Array(read)) => given
            .iter()
            .zip(read)
            .any(|(given, read)| list_for_object(given, read)),
        (Value::Object(given), Value::Object(read)) => given.iter().any(|(name, given)| {
            let read = read.get(name);
            read.is_some_and(|read| list_for_object(given, read))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
