//! The machines that a run was made on.

use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use crate::{Done, Results};

/// A machine that a run, or a stage of it, was made on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, and what tells apart those that share a name; empty if unknown.
    pub cpu: String,
    /// Cores that the program may use; 0 if unknown.
    pub cores: usize,
    /// Name of the device that computed, such as `cuda`; empty if unknown, or if it is that of the results.
    // Runs from before there was such a field do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
}

impl Machine {
    /// The machine that this program runs on.
    pub fn detect() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").ok();
        Self {
            cpu: cpu
                .and_then(|text| processor(&text))
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            device: String::new(),
        }
    }

    /// Whether it is not known which one it was.
    pub(crate) fn is_unknown(&self) -> bool {
        self.cpu.is_empty()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cores {
            0 => write!(f, "{}", self.cpu)?,
            1 => write!(f, "{}, 1 core", self.cpu)?,
            n => write!(f, "{}, {n} cores", self.cpu)?,
        }
        match self.device.as_str() {
            "" => Ok(()),
            device => write!(f, ", {device}"),
        }
    }
}

/// The first processor in the text of `/proc/cpuinfo`: names like `AMD EPYC` are those of machines that differ by a factor.
fn processor(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    };
    let mut more = Vec::new();
    if let Some((family, model)) = field("cpu family").zip(field("model")) {
        more.push(format!("family {family} model {model}"));
    }
    let flags = field("flags").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|other| other == flag);
    let vectors = [
        ("avx512_bf16", "AVX-512 BF16"),
        ("avx512f", "AVX-512"),
        ("avx2", "AVX2"),
    ];
    more.extend(
        vectors
            .iter()
            .find(|(flag, _)| has(flag))
            .map(|(_, name)| (*name).to_owned()),
    );
    let name = field("model name")?;
    Some(match more.is_empty() {
        true => name.to_owned(),
        false => format!("{name} ({})", more.join(", ")),
    })
}

/// Says in the results which machine and device made the stage that took longest, and which of `stages` were finished on
/// others. Stages from before machines were noted are left out; where no machine is known, it is the one that the results are
/// put together on.
pub(crate) fn name_machines<'a>(
    results: &mut Results,
    stages: impl Iterator<Item = (String, &'a Done)> + Clone,
) {
    let known = stages
        .clone()
        .filter(|(_, done)| !done.machine.is_unknown());
    if let Some((_, longest)) = known.max_by(|(_, a), (_, b)| a.seconds.total_cmp(&b.seconds)) {
        let device = longest.machine.device.clone();
        results.machine = Machine {
            device: String::new(),
            ..longest.machine.clone()
        };
        if !device.is_empty() {
            results.device = device;
        }
    }
    let here = results.machine.clone();
    for (stage, Done { machine, .. }) in stages {
        let mut machine = machine.clone();
        if machine.device == results.device {
            machine.device.clear();
        }
        if !machine.is_unknown() && machine != here {
            results.other_machines.insert(stage, machine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_one_name_are_told_apart() {
        let old = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 fma\n\
            processor\t: 1\ncpu family\t: 0\n";
        assert_eq!(
            processor(old).unwrap(),
            "AMD EPYC (family 25 model 1, AVX2)"
        );
        let new = old.replace("avx2", "avx2 avx512f avx512_bf16");
        assert!(processor(&new).unwrap().ends_with(", AVX-512 BF16)"));
        assert_eq!(processor("model name : this one\n").unwrap(), "this one");
        assert_eq!(processor("Processor : another\n"), None);
    }

    #[test]
    fn stages_that_another_machine_finished_are_named() {
        let mut results = Results::new("mini", 1, "ndarray");
        let done = |seconds: f64, machine: &Machine| Done {
            made_from: String::new(),
            result: String::new(),
            files: Vec::new(),
            seconds,
            machine: machine.clone(),
            notes: serde_json::Value::Null,
        };
        let other = Machine {
            cpu: "another".to_owned(),
            cores: 2,
            ..Machine::default()
        };
        let on = |device: &str| Machine {
            device: device.to_owned(),
            ..results.machine.clone()
        };
        let (here, there, old) = (
            done(1.0, &results.machine),
            done(1.0, &other),
            done(9.0, &Machine::default()),
        );
        // The longest one tells where the run was made, wherever its results were put together.
        let (same, gpu) = (done(2.0, &on("flex")), done(1.0, &on("cuda")));
        let stages = [
            ("x", &here),
            ("y", &there),
            ("z", &old),
            ("s", &same),
            ("g", &gpu),
        ];
        let stages = stages.into_iter();
        name_machines(&mut results, stages.map(|(name, done)| (name.into(), done)));
        assert_eq!(
            results.other_machines.keys().collect::<Vec<_>>(),
            ["y", "g"]
        );
        assert_eq!(results.device, "flex");
        let named = results.other_machines.get("y").map(Machine::to_string);
        assert_eq!(named.as_deref(), Some("another, 2 cores"));
        let named = results.other_machines.get("g").map(Machine::to_string);
        assert!(named.is_some_and(|name| name.ends_with(", cuda")));
    }
}
