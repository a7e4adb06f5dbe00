//! The command that makes a run, for its report.

use std::fmt::{self, Display};

use crate::{DeviceName, shell::quoted};

/// A command that can be typed as it stands.
#[derive(Debug, Clone)]
pub struct CommandLine {
    text: String,
}

impl CommandLine {
    /// What builds and starts the program `example` for `device`.
    pub fn new(device: DeviceName, example: &str) -> Self {
        Self {
            text: device.cargo_run(example),
        }
    }

    /// With an option and its value.
    pub fn option(mut self, name: &str, value: impl Display) -> Self {
        self.text += &format!(" {name} {}", quoted(&value.to_string()));
        self
    }

    /// With an option for every value: none, one or several.
    pub fn each<T: Display>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter();
        values.fold(self, |command, value| command.option(name, value))
    }

    /// With an option that takes all values, a comma between each two; without it if there are none.
    pub fn list(self, name: &str, values: &[impl Display]) -> Self {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        let joined = (!values.is_empty()).then(|| values.join(","));
        self.each(name, joined)
    }

    /// With an option that has no value, if it is `on`.
    pub fn flag(mut self, name: &str, on: bool) -> Self {
        if on {
            self.text += &format!(" {name}");
        }
        self
    }
}

impl Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed_as_they_stand() {
        let on = |device| {
            CommandLine::new(device, "multitask_relay")
                .option("--seed", 2)
                .each("--task", None::<String>)
                .each("--set", ["evaluation.hit_matrices=[[\"lis\", 30]]", "a=1"])
                .list("--arms", &["ar_relay", "ar_baseline"])
                .list("--seeds", &[0; 0])
                .flag("--no-kernels", true)
                .flag("--resume", false)
                .to_string()
        };
        let options = "--seed 2 --set 'evaluation.hit_matrices=[[\"lis\", 30]]' --set a=1 --arms ar_relay,ar_baseline --no-kernels";
        assert_eq!(
            on(DeviceName::Flex),
            format!("cargo run --release --example multitask_relay -- {options}")
        );
        assert_eq!(
            on(DeviceName::Cuda),
            format!(
                "cargo run --release -p relay-examples --features cuda --example multitask_relay -- {options}"
            )
        );
    }
}
