//! Which host takes a sandbox: pure functions over a snapshot of the hosts.
//!
//! Filters run in a fixed order, so that a refusal can say which one removed the last host. What is left
//! is ranked; hosts that hold the template come first.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use wrenn_database::{Candidates, HostUsageRow};
use wrenn_ids::HostId;

use crate::config::{Config, SchedulerKind};

/// What a sandbox needs of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) vcpus: u32,
    pub(crate) memory_mb: u32,
    /// MiB that it is expected to write, the template's pull included where it is absent.
    pub(crate) disk_mb: u32,
    /// MiB of the template.
    pub(crate) template_mb: u32,
    /// The processor that it is made for, where that is known.
    pub(crate) arch: Option<String>,
    /// Labels that the host must have.
    pub(crate) tags: Vec<String>,
}

/// Promises per real resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overcommit {
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
}

/// The filter that removed the last host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The team brings its own hosts, and has none.
    Team,
    Online,
    Draining,
    Arch,
    Tags,
    Memory,
    Vcpu,
    Disk,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Team => "team",
            Self::Online => "online",
            Self::Draining => "draining",
            Self::Arch => "arch",
            Self::Tags => "tags",
            Self::Memory => "memory",
            Self::Vcpu => "vcpu",
            Self::Disk => "disk",
        })
    }
}

/// No host can take the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoHost {
    pub(crate) filter: Filter,
    /// Amount asked for, in the filter's unit.
    pub(crate) asked: u64,
    /// Most that any host has free.
    pub(crate) most_free: u64,
    /// Hosts that are online.
    pub(crate) online: u64,
}

/// Ranks hosts that passed every filter; `hosts` is never empty.
pub(crate) trait Scheduler: Send + Sync {
    fn choose(&self, demand: &Demand, hosts: &[HostUsageRow]) -> Result<HostId, NoHost>;
    /// Which hosts it wants to choose among.
    fn looks_at(&self) -> Candidates;
    /// Whether this one host still has room; asked again under its lock.
    fn fits(&self, demand: &Demand, host: &HostUsageRow) -> bool;
}

/// The scheduler that the settings name.
pub(crate) fn build(config: &Config) -> Box<dyn Scheduler> {
    let overcommit = Overcommit {
        cpu: config.cpu_overcommit,
        memory: config.mem_overcommit,
    };
    match config.scheduler {
        SchedulerKind::LeastLoaded => Box::new(LeastLoaded(overcommit)),
        SchedulerKind::RoundRobin => Box::new(RoundRobin(overcommit, AtomicUsize::new(0))),
    }
}

impl Overcommit {
    fn memory_free(self, host: &HostUsageRow) -> u64 {
        let memory = host.memory_mb as f64;
        let reserve = (memory * 0.05).max(512.0);
        (memory * self.memory - reserve - host.memory_mb_used as f64).max(0.0) as u64
    }

    fn vcpus_free(self, host: &HostUsageRow) -> u64 {
        (f64::from(host.cpu_cores) * self.cpu - host.vcpus_used as f64).max(0.0) as u64
    }

    fn load(self, host: &HostUsageRow) -> f64 {
        let memory = host.memory_mb_used as f64 / (host.memory_mb as f64 * self.memory).max(1.0);
        let cpu = host.vcpus_used as f64 / (f64::from(host.cpu_cores) * self.cpu).max(1.0);
        memory.max(cpu)
    }

    /// The hosts that pass every filter, in the order of the filters.
    fn filter<'a>(
        self,
        demand: &Demand,
        hosts: &'a [HostUsageRow],
    ) -> Result<Vec<&'a HostUsageRow>, NoHost> {
        let online = hosts.iter().filter(|host| is_online(host)).count() as u64;
        let mut left: Vec<_> = hosts.iter().collect();
        for filter in FILTERS {
            let most_free = left
                .iter()
                .map(|host| self.free(filter, demand, host))
                .max()
                .unwrap_or(0);
            let asked = left
                .iter()
                .map(|host| need(filter, demand, host))
                .min()
                .unwrap_or(1);
            left.retain(|host| need(filter, demand, host) <= self.free(filter, demand, host));
            if left.is_empty() {
                return Err(NoHost {
                    filter,
                    asked,
                    most_free,
                    online,
                });
            }
        }
        Ok(left)
    }

    /// What a host has left of what the filter looks at.
    fn free(self, filter: Filter, demand: &Demand, host: &HostUsageRow) -> u64 {
        match filter {
            Filter::Team => 1,
            Filter::Online => u64::from(is_online(host)),
            Filter::Draining => u64::from(!host.draining),
            Filter::Arch => u64::from(demand.arch.as_ref().is_none_or(|arch| *arch == host.arch)),
            Filter::Tags => {
                let wanted = demand.tags.iter();
                wanted.filter(|tag| host.tags.contains(tag)).count() as u64
            }
            Filter::Memory => self.memory_free(host),
            Filter::Vcpu => self.vcpus_free(host),
            Filter::Disk => disk_free(host),
        }
    }
}

/// In this order; what depends on nothing but the host comes first. Hosts of other teams are no candidates.
const FILTERS: [Filter; 7] = [
    Filter::Online,
    Filter::Draining,
    Filter::Arch,
    Filter::Tags,
    Filter::Memory,
    Filter::Vcpu,
    Filter::Disk,
];

/// Whether it is there, and what it said is young enough to be trusted.
fn is_online(host: &HostUsageRow) -> bool {
    host.online && host.synced
}

/// What the sandbox would take of it.
fn need(filter: Filter, demand: &Demand, host: &HostUsageRow) -> u64 {
    match filter {
        Filter::Team | Filter::Online | Filter::Draining | Filter::Arch => 1,
        Filter::Tags => demand.tags.len() as u64,
        Filter::Memory => demand.memory_mb.into(),
        Filter::Vcpu => demand.vcpus.into(),
        Filter::Disk => disk_need(demand, host),
    }
}

fn disk_need(demand: &Demand, host: &HostUsageRow) -> u64 {
    let pull = if host.has_template {
        0
    } else {
        demand.template_mb
    };
    u64::from(demand.disk_mb / 4) + u64::from(pull)
}

/// A fifth of what is free stays free.
fn disk_free(host: &HostUsageRow) -> u64 {
    let free = u64::try_from(host.disk_free_mb.unwrap_or(0)).unwrap_or(0);
    free / 5 * 4
}

/// Of hosts that hold the template, else of all.
fn preferred<'a>(left: &[&'a HostUsageRow]) -> Vec<&'a HostUsageRow> {
    let holders: Vec<_> = left
        .iter()
        .copied()
        .filter(|host| host.has_template)
        .collect();
    if holders.is_empty() {
        left.to_vec()
    } else {
        holders
    }
}

fn id(host: &HostUsageRow) -> HostId {
    HostId::from_uuid(host.id)
}

/// The lowest of max(memory, cpu) first; ties by chance.
struct LeastLoaded(Overcommit);

impl Scheduler for LeastLoaded {
    fn choose(&self, demand: &Demand, hosts: &[HostUsageRow]) -> Result<HostId, NoHost> {
        let left = self.0.filter(demand, hosts)?;
        let hosts = preferred(&left);
        let least = hosts
            .iter()
            .map(|host| self.0.load(host))
            .fold(f64::INFINITY, f64::min);
        let tied: Vec<_> = hosts
            .iter()
            .filter(|host| self.0.load(host) <= least + 1e-9)
            .collect();
        let mut byte = [0u8; 1];
        // Without randomness the first of the tied will do.
        let _ = getrandom::fill(&mut byte);
        Ok(id(tied[usize::from(byte[0]) % tied.len()]))
    }

    fn looks_at(&self) -> Candidates {
        Candidates::Sample
    }

    fn fits(&self, demand: &Demand, host: &HostUsageRow) -> bool {
        self.0.filter(demand, std::slice::from_ref(host)).is_ok()
    }
}

/// One host after the other, by id.
struct RoundRobin(Overcommit, AtomicUsize);

impl Scheduler for RoundRobin {
    fn choose(&self, demand: &Demand, hosts: &[HostUsageRow]) -> Result<HostId, NoHost> {
        let left = self.0.filter(demand, hosts)?;
        let mut hosts = preferred(&left);
        hosts.sort_by_key(|host| host.id);
        Ok(id(
            hosts[self.1.fetch_add(1, Ordering::Relaxed) % hosts.len()]
        ))
    }

    fn looks_at(&self) -> Candidates {
        // Of some by chance there is no next one.
        Candidates::All
    }

    fn fits(&self, demand: &Demand, host: &HostUsageRow) -> bool {
        self.0.filter(demand, std::slice::from_ref(host)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn demand() -> Demand {
        Demand {
            vcpus: 2,
            memory_mb: 1024,
            disk_mb: 4096,
            template_mb: 1000,
            ..Demand::default()
        }
    }

    const OVERCOMMIT: Overcommit = Overcommit {
        cpu: 4.0,
        memory: 1.0,
    };

    fn host(number: u128) -> HostUsageRow {
        HostUsageRow {
            id: Uuid::from_u128(number),
            online: true,
            draining: false,
            arch: "x86_64".to_owned(),
            tags: vec!["gpu".to_owned()],
            synced: true,
            cpu_cores: 2,
            memory_mb: 4096,
            disk_free_mb: Some(10_000),
            vcpus_used: 0,
            memory_mb_used: 0,
            has_template: true,
        }
    }

    fn check(hosts: &[HostUsageRow], expected: Result<u128, (Filter, u64, u64, u64)>) {
        check_for(&demand(), hosts, expected);
    }

    fn check_for(
        demand: &Demand,
        hosts: &[HostUsageRow],
        expected: Result<u128, (Filter, u64, u64, u64)>,
    ) {
        let chosen = LeastLoaded(OVERCOMMIT).choose(demand, hosts);
        let chosen = chosen
            .map(|id| id.as_uuid().as_u128())
            .map_err(|no| (no.filter, no.asked, no.most_free, no.online));
        assert_eq!(chosen, expected, "{hosts:?}");
    }

    #[test]
    fn a_refusal_names_the_filter_that_removed_the_last_host() {
        check(&[], Err((Filter::Online, 1, 0, 0)));
        check(
            &[HostUsageRow {
                online: false,
                draining: true,
                ..host(1)
            }],
            Err((Filter::Online, 1, 0, 0)),
        );
        check(
            &[HostUsageRow {
                synced: false,
                ..host(1)
            }],
            Err((Filter::Online, 1, 0, 0)),
        );
        check(
            &[HostUsageRow {
                memory_mb_used: 3072,
                ..host(1)
            }],
            Err((Filter::Memory, 1024, 512, 1)),
        );
        check(
            &[HostUsageRow {
                vcpus_used: 7,
                ..host(1)
            }],
            Err((Filter::Vcpu, 2, 1, 1)),
        );
        check(
            &[HostUsageRow {
                disk_free_mb: Some(1000),
                ..host(1)
            }],
            Err((Filter::Disk, 1024, 800, 1)),
        );
        check(
            &[HostUsageRow {
                disk_free_mb: Some(2000),
                has_template: false,
                ..host(1)
            }],
            Err((Filter::Disk, 2024, 1600, 1)),
        );
        check(
            &[HostUsageRow {
                disk_free_mb: None,
                ..host(1)
            }],
            Err((Filter::Disk, 1024, 0, 1)),
        );
    }

    #[test]
    fn hosts_that_drain_or_are_of_another_kind_take_nothing() {
        let draining = HostUsageRow {
            draining: true,
            ..host(1)
        };
        let alone = std::slice::from_ref(&draining);
        check(alone, Err((Filter::Draining, 1, 0, 1)));
        check(&[draining, host(2)], Ok(2));
        let arm = Demand {
            arch: Some("aarch64".to_owned()),
            ..demand()
        };
        check_for(&arm, &[host(1)], Err((Filter::Arch, 1, 0, 1)));
        let of_arm = HostUsageRow {
            arch: "aarch64".to_owned(),
            ..host(2)
        };
        check_for(&arm, &[host(1), of_arm], Ok(2));
        let labelled = Demand {
            tags: vec!["gpu".to_owned(), "ssd".to_owned()],
            ..demand()
        };
        check_for(&labelled, &[host(1)], Err((Filter::Tags, 2, 1, 1)));
        let both = HostUsageRow {
            tags: ["ssd", "zone", "gpu"].map(str::to_owned).to_vec(),
            ..host(2)
        };
        check_for(&labelled, &[host(1), both], Ok(2));
    }

    #[test]
    fn the_reserve_lets_a_laptop_be_used_and_is_never_given_away() {
        check(
            &[HostUsageRow {
                memory_mb_used: 2560,
                ..host(1)
            }],
            Ok(1),
        );
        check(
            &[HostUsageRow {
                memory_mb_used: 2561,
                ..host(1)
            }],
            Err((Filter::Memory, 1024, 1023, 1)),
        );
    }

    #[test]
    fn the_least_loaded_holder_of_the_template_wins() {
        let busy = HostUsageRow {
            vcpus_used: 4,
            ..host(1)
        };
        check(&[busy.clone(), host(2)], Ok(2));
        check(
            &[
                busy,
                HostUsageRow {
                    has_template: false,
                    ..host(2)
                },
            ],
            Ok(1),
        );
        check(
            &[HostUsageRow {
                has_template: false,
                ..host(2)
            }],
            Ok(2),
        );
    }

    #[test]
    fn round_robin_takes_turns() {
        let scheduler = RoundRobin(OVERCOMMIT, AtomicUsize::new(0));
        let hosts = [host(2), host(1)];
        let turns: Vec<_> = (0..4)
            .map(|_| {
                scheduler
                    .choose(&demand(), &hosts)
                    .unwrap()
                    .as_uuid()
                    .as_u128()
            })
            .collect();
        assert_eq!(turns, [1, 2, 1, 2]);
    }
}
