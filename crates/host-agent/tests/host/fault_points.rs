//! Every file that an operation writes.

use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Pause,
    Resume,
    Keep,
    Fork,
}

/// Files that an operation writes, and what is told when that fails.
pub(crate) const FILES: [(Operation, &[&str]); 4] = [
    (
        Operation::Pause,
        &[
            "write.manifest.json",
            "sync.manifest.json",
            "take.vmstate",
            "sync.vmstate",
            "take.layer",
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

/// All of a table, or one of each row.
pub(crate) fn chosen<T: Copy>(
    random: &mut Random,
    table: &[(Operation, &[&'static str])],
    how: &[T],
) -> Vec<(Operation, &'static str, T)> {
    let mut cases = Vec::new();
    for (operation, points) in table {
        let all = points
            .iter()
            .flat_map(|point| how.iter().map(|how| (*operation, *point, *how)));
        let all: Vec<_> = all.collect();
        match random.below(all.len()) {
            Some(one) if !whole() => cases.push(all[one]),
            _ => cases.extend(all),
        }
    }
    cases
}
