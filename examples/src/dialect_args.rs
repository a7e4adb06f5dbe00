//! The dialects of the paper's tasks on the command line.

use clap::{Args, ValueEnum};
use relay_tasks::{
    ArithmeticConfig, CostDialect, Domain, EditDistanceConfig, LisConfig, LisValues, StepOrder,
    TaskConfig,
};

use crate::CliError;

/// One of the paper's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// Arithmetic.
    Ari,
    /// Edit distance.
    Ed,
    /// Longest increasing subsequence.
    Lis,
}

impl TaskName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ari, Self::Ed, Self::Lis];

    /// The name as files and the command line have it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Ari => "ari",
            Self::Ed => "ed",
            Self::Lis => "lis",
        }
    }
}

/// The numbers of arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DomainName {
    /// The field of a prime.
    Prime,
    /// Non-negative integers with exact division.
    Integers,
}

/// The order of arithmetic's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OrderName {
    /// The leftmost operation first.
    LeftToRight,
    /// The random expansion of the benchmark, backwards.
    RandomExpansion,
}

/// The border of edit distance's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CostsName {
    /// As in the benchmark.
    Benchmark,
    /// True costs.
    True,
}

/// Where the numbers of longest increasing subsequence come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ValuesName {
    /// From n + 1 on, as in the benchmark.
    Benchmark,
    /// A fixed range.
    Fixed,
}

/// Settings of the tasks; what is not given is as in the paper.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Dialect")]
pub struct DialectArgs {
    /// ari: the numbers [default: prime]
    #[arg(long)]
    domain: Option<DomainName>,
    /// ari: the prime of the field [default: 11]
    #[arg(long)]
    prime: Option<u32>,
    /// ari: the order of the steps [default: left-to-right]
    #[arg(long)]
    order: Option<OrderName>,
    /// ed: letters in the alphabet [default: 26]
    #[arg(long)]
    letters: Option<usize>,
    /// ed: the border of the table [default: benchmark]
    #[arg(long)]
    costs: Option<CostsName>,
    /// ed: cost of an insertion [default: 2]
    #[arg(long)]
    insert: Option<u32>,
    /// ed: cost of a deletion [default: 2]
    #[arg(long)]
    delete: Option<u32>,
    /// ed: cost of a replacement [default: 3]
    #[arg(long)]
    replace: Option<u32>,
    /// ed: fewest and most different letters in a problem [default: 3..10]
    #[arg(long, value_parser = parse_pair)]
    drawn: Option<(usize, usize)>,
    /// ed: share of problems with a random second string [default: 0.4]
    #[arg(long)]
    random_share: Option<f64>,
    /// lis: numbers to a step [default: 10]
    #[arg(long)]
    group: Option<usize>,
    /// lis: where the numbers come from [default: benchmark]
    #[arg(long)]
    values: Option<ValuesName>,
    /// lis: the lowest number, with `--values fixed` [default: 126]
    #[arg(long)]
    lowest: Option<u32>,
    /// lis: fewest and most planted runs [default: 1..3]
    #[arg(long, value_parser = parse_pair)]
    runs: Option<(usize, usize)>,
    /// The largest number: of lis, ed, and ari with `--domain integers` [default: 249]
    #[arg(long)]
    largest: Option<u32>,
}

impl DialectArgs {
    /// The settings of a task.
    ///
    /// # Errors
    /// A usage error for options that contradict each other or settings that cannot be.
    pub fn config(&self, task: TaskName) -> Result<TaskConfig, CliError> {
        let config = match task {
            TaskName::Ari => TaskConfig::Ari(self.arithmetic()?),
            TaskName::Ed => TaskConfig::Ed(self.edit_distance()),
            TaskName::Lis => TaskConfig::Lis(self.lis()?),
        };
        config.validate().map_err(CliError::usage)?;
        Ok(config)
    }

    /// What `--largest` says.
    pub(crate) fn largest(&self) -> Option<u32> {
        self.largest
    }

    /// The options that belong to one task each, so without `--largest`.
    #[must_use]
    pub fn of_one_task(&self) -> Self {
        Self {
            largest: None,
            ..self.clone()
        }
    }

    /// Refuses options of other tasks than the given one.
    ///
    /// # Errors
    /// A usage error that names the first such option.
    pub fn only_for(&self, task: TaskName) -> Result<(), CliError> {
        if task == TaskName::Ari
            && self.largest.is_some()
            && self.domain != Some(DomainName::Integers)
        {
            return Err(CliError::usage(
                "--largest belongs to --domain integers; with a prime field give --prime",
            ));
        }
        match self.given().find(|&(_, owner)| owner != task) {
            None => Ok(()),
            Some((option, owner)) => Err(CliError::usage(format!(
                "{option} belongs to --task {}, not to {}",
                owner.text(),
                task.text()
            ))),
        }
    }

    /// The options that were given and belong to one task each.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, TaskName)> {
        let all = [
            ("--domain", TaskName::Ari, self.domain.is_some()),
            ("--prime", TaskName::Ari, self.prime.is_some()),
            ("--order", TaskName::Ari, self.order.is_some()),
            ("--letters", TaskName::Ed, self.letters.is_some()),
            ("--costs", TaskName::Ed, self.costs.is_some()),
            ("--insert", TaskName::Ed, self.insert.is_some()),
            ("--delete", TaskName::Ed, self.delete.is_some()),
            ("--replace", TaskName::Ed, self.replace.is_some()),
            ("--drawn", TaskName::Ed, self.drawn.is_some()),
            ("--random-share", TaskName::Ed, self.random_share.is_some()),
            ("--group", TaskName::Lis, self.group.is_some()),
            ("--values", TaskName::Lis, self.values.is_some()),
            ("--lowest", TaskName::Lis, self.lowest.is_some()),
            ("--runs", TaskName::Lis, self.runs.is_some()),
        ];
        let given = all.into_iter().filter(|(_, _, given)| *given);
        given.map(|(option, owner, _)| (option, owner))
    }

    fn arithmetic(&self) -> Result<ArithmeticConfig, CliError> {
        let domain = match (self.domain, self.prime, self.largest) {
            (Some(DomainName::Integers), Some(_), _) => {
                return Err(CliError::usage(
                    "--prime belongs to --domain prime, not to integers",
                ));
            }
            (Some(DomainName::Integers), None, largest) => Domain::Integers {
                max: largest.unwrap_or(249),
            },
            (_, prime, _) => Domain::PrimeField {
                p: prime.unwrap_or(11),
            },
        };
        let order = match self.order {
            Some(OrderName::RandomExpansion) => StepOrder::RandomExpansion,
            _ => StepOrder::LeftToRight,
        };
        Ok(ArithmeticConfig { domain, order })
    }

    fn edit_distance(&self) -> EditDistanceConfig {
        let default = EditDistanceConfig::default();
        EditDistanceConfig {
            letters: self.letters.unwrap_or(default.letters),
            largest: self.largest.unwrap_or(default.largest),
            costs: match self.costs {
                Some(CostsName::True) => CostDialect::TrueCosts,
                _ => CostDialect::Benchmark,
            },
            insert: self.insert.unwrap_or(default.insert),
            delete: self.delete.unwrap_or(default.delete),
            replace: self.replace.unwrap_or(default.replace),
            drawn: self
                .drawn
                .map_or(default.drawn, |(fewest, most)| [fewest, most]),
            random_share: self.random_share.unwrap_or(default.random_share),
        }
    }

    fn lis(&self) -> Result<LisConfig, CliError> {
        let default = LisConfig::default();
        let largest = self.largest.unwrap_or(249);
        let values = match (self.values, self.lowest) {
            (Some(ValuesName::Fixed), lowest) => LisValues::Fixed {
                lowest: lowest.unwrap_or(126),
                highest: largest,
            },
            (_, Some(_)) => return Err(CliError::usage("--lowest belongs to --values fixed")),
            _ => LisValues::Benchmark { max: largest },
        };
        Ok(LisConfig {
            group: self.group.unwrap_or(default.group),
            values,
            runs: self
                .runs
                .map_or(default.runs, |(fewest, most)| [fewest, most]),
        })
    }
}

/// `a..b`, both included, or `a` alone for `a..a`.
///
/// # Errors
/// What would be right.
pub fn parse_pair(text: &str) -> Result<(usize, usize), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let high = high.strip_prefix('=').unwrap_or(high);
    match (low.trim().parse(), high.trim().parse()) {
        (Ok(low), Ok(high)) if low <= high => Ok((low, high)),
        (Ok(low), Ok(high)) => Err(format!(
            "{low} is above {high}; write the smaller number first, such as {high}..{low}"
        )),
        _ => Err(
            "expected two whole numbers from 0 on, such as 15..25, or one, such as 15".to_owned(),
        ),
    }
}
