//! Names of arms, of the stages between them, and of tasks, and what they are called in figures and tables.

/// The looped model trained with loop alignment (section 3.3).
pub const LOOPED_ALIGNED: &str = "looped_aligned";
/// The looped model trained on answers only (section 3.2).
pub const LOOPED_VANILLA: &str = "looped_vanilla";
/// The auto-regressive model trained on the short problems (section 3.2).
pub const AR_BASELINE: &str = "ar_baseline";
/// The auto-regressive model fine-tuned on chains that the looped model wrote (section 4.2).
pub const AR_RELAY: &str = "ar_relay";
/// The auto-regressive model fine-tuned on its own chains, confirmed by the vanilla looped model (section 4.3).
pub const AR_SELF_LOOP: &str = "ar_self_loop";
/// The auto-regressive model fine-tuned on its own chains, confirmed by the true answers (section 4.3).
pub const AR_SELF_TRUTH: &str = "ar_self_truth";

/// All arms.
pub(crate) const ARMS: [&str; 6] = [
    LOOPED_ALIGNED,
    LOOPED_VANILLA,
    AR_BASELINE,
    AR_RELAY,
    AR_SELF_LOOP,
    AR_SELF_TRUTH,
];

/// The stage in which the aligned looped model writes chains for Stage II.
pub(crate) const CHAINS: &str = "chains";
/// The stage in which these join the original data.
pub(crate) const MERGED: &str = "merged";
/// What all stages that measure an arm lie in.
pub(crate) const EVALUATION: &str = "evaluation";

/// The stage that measures an arm.
pub(crate) fn evaluation_of(arm: &str) -> String {
    format!("{EVALUATION}/{arm}")
}

/// Whether an arm is a looped model; the others are auto-regressive.
pub fn is_looped(arm: &str) -> bool {
    [LOOPED_ALIGNED, LOOPED_VANILLA].contains(&arm)
}

/// What an arm is called in a legend; an unknown arm keeps its name.
pub fn arm_label(arm: &str) -> &str {
    match arm {
        LOOPED_ALIGNED => "Looped, aligned",
        LOOPED_VANILLA => "Looped, vanilla",
        AR_BASELINE => "AR baseline",
        AR_RELAY => "AR + RELAY",
        AR_SELF_LOOP => "AR + self chains, loop answers",
        AR_SELF_TRUTH => "AR + self chains, true answers",
        other => other,
    }
}

/// What a task is called above its panel; an unknown task keeps its name.
pub fn task_label(task: &str) -> &str {
    match task {
        "ari" => "Arithmetic",
        "ed" => "Edit distance",
        "lis" => "Longest increasing subsequence",
        other => other,
    }
}

/// What the length of a problem counts.
pub fn length_label(task: &str) -> &'static str {
    match task {
        "ari" => "length: number of operators",
        "ed" => "length of the shorter string",
        "lis" => "length: numbers in the sequence",
        _ => "length",
    }
}
