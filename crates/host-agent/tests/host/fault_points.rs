//! Every step of an operation that has a name, and every file that it writes.

use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Pause,
    Resume,
    Keep,
    Fork,
    Destroy,
}

/// Every step of each operation.
pub(crate) const STEPS: [(Operation, &[&str]); 5] = [
    (
        Operation::Pause,
        &[
            "pause.after.merged",
            "pause.after.record",
            "pause.after.prepare",
            "pause.after.stop",
            "pause.after.snapshot",
            "sync.layer",
            "pause.after.files",
            "pause.after.disk",
            "pause.after.paused",
        ],
    ),
    (
        Operation::Resume,
        &[
            "resume.after.check",
            "resume.after.slot",
            "resume.after.disk",
            "resume.after.launch",
            "resume.after.pages",
            "resume.after.load",
            "resume.after.init",
            "resume.after.running",
        ],
    ),
    (
        Operation::Keep,
        &[
            "pause.after.record",
            "pause.after.snapshot",
            "pause.after.disk",
            "link.layer",
            "sync.disk",
            "sync.template.json",
            "pause.after.copy",
        ],
    ),
    (
        Operation::Fork,
        &[
            "pause.after.snapshot",
            "pause.after.disk",
            "link.layer",
            "sync.disk",
            "pause.after.copy",
            "resume.after.launch",
            "resume.after.load",
            "resume.after.running",
        ],
    ),
    (
        Operation::Destroy,
        &["destroy.after.record", "destroy.after.release"],
    ),
];

/// Files that an operation writes, and what is told when that fails.
pub(crate) const FILES: [(Operation, &[&str]); 4] = [
    (
        Operation::Pause,
        &[
            "write.manifest.json",
            "sync.manifest.json",
            "take.vmstate",
            "sync.vmstate",
            "open.memory.new",
            "write.layer",
            "sync.layer",
            "link.layer",
            "write.memory",
            "sync.memory",
        ],
    ),
    (
        Operation::Resume,
        &["write.manifest.json", "sync.manifest.json"],
    ),
    (
        Operation::Keep,
        &[
            "write.disk",
            "sync.disk",
            "link.vmstate",
            "write.template.json",
            "sync.template.json",
        ],
    ),
    (Operation::Fork, &["write.disk", "sync.disk", "link.memory"]),
];

fn whole() -> bool {
    std::env::var_os("WRENN_SOAK").is_some()
}

/// All of a table, or one of each row; or those whose names contain what `WRENN_CASES` says.
pub(crate) fn chosen<T: Copy + std::fmt::Debug>(
    random: &mut Random,
    table: &[(Operation, &[&'static str])],
    how: &[T],
) -> Vec<(Operation, &'static str, T)> {
    let wanted = std::env::var("WRENN_CASES").ok();
    let mut cases = Vec::new();
    for (operation, points) in table {
        let all = points
            .iter()
            .flat_map(|point| how.iter().map(|how| (*operation, *point, *how)));
        let mut all: Vec<_> = all.collect();
        if let Some(wanted) = &wanted {
            all.retain(|(operation, point, how)| {
                format!("{operation:?} {point} {how:?}").contains(wanted)
            });
            cases.extend(all);
            continue;
        }
        match random.below(all.len()) {
            Some(one) if !whole() => cases.push(all[one]),
            _ => cases.extend(all),
        }
    }
    cases
}
