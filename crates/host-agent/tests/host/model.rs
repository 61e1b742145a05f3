//! A random run of up to eight sandboxes against a model: every answer is legal, every state is the model's,
//! and what a sandbox holds is what was put into it, also when commands contradict each other.
//!
//! The run follows from its seed as far as the answers are the same; `WRENN_MODEL_SEED` gives one.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{join, time::sleep};
use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::ErrorCode,
    hostagent::{ListSandboxesRequest, SandboxState},
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{create_of, delete_template, destroy, keep, keep_request, resume, state},
    contents::{fill, look},
    fixture::host,
    moves::{Action, Known, Move, OF_PAUSED, OF_RUNNING, must},
    random::Random,
};

const MOST: usize = 8;
/// Sandboxes that are changed at once.
const AT_ONCE: usize = 3;

struct Model<'a> {
    host: &'a AgentHost,
    random: Random,
    known: Vec<Known>,
    templates: Vec<(TemplateId, String)>,
    rounds: u32,
}

impl Model<'_> {
    /// One sandbox by a boot, a template of it, and another from that.
    fn begin(&mut self) {
        let (host, id) = (self.host, SandboxId::new());
        let begun = async {
            must("create", create_of(host, id, TemplateId::ZERO).await);
            must("fill", fill(host, id, "first").await)
        };
        let holds = host.block_on(begun);
        self.known.push(Known {
            id,
            paused: Some(false),
            holds: holds.clone(),
        });
        let template = TemplateId::new();
        let kept = keep(host, keep_request(host, id, template));
        must("keep", host.block_on(kept));
        self.templates.push((template, holds));
        self.create();
    }

    /// A sandbox from a template; now and then the template is deleted meanwhile.
    fn create(&mut self) {
        let Some(at) = self.random.below(self.templates.len()) else {
            return;
        };
        let (template, holds) = self.templates[at].clone();
        let (host, id) = (self.host, SandboxId::new());
        let deleted = self.templates.len() > 2;
        let gap = self.random.gap();
        let created = host.block_on(async {
            let delete = async {
                if deleted {
                    sleep(gap).await;
                    must("delete", delete_template(host, template).await);
                }
            };
            join!(create_of(host, id, template), delete).0
        });
        if deleted {
            self.templates.remove(at);
        }
        match created {
            Ok(()) => self.known.push(Known {
                id,
                paused: Some(false),
                holds,
            }),
            // It went while the creation had not taken what it needs.
            Err(error) => assert!(
                deleted && error.code == ErrorCode::NotFound,
                "create: {error:?}"
            ),
        }
    }

    fn round(&mut self) {
        self.rounds += 1;
        let mut room = MOST.saturating_sub(self.known.len());
        if self.known.len() < 2 || (room > 2 && self.random.one_in(3)) {
            self.create();
            return self.compare();
        }
        self.random.shuffle(&mut self.known);
        let playing = self.known.len().min(AT_ONCE);
        let mut moves = Vec::new();
        for known in self.known.drain(..playing) {
            let of: &[Action] = match known.paused {
                Some(true) => &OF_PAUSED,
                _ => &OF_RUNNING,
            };
            let mut action = of[self.random.below(of.len()).expect("some")];
            let wanted = 1 + usize::from(self.random.one_in(3));
            let forks = matches!(
                action,
                Action::Fork | Action::ForkAndPause | Action::ForkAndDestroy
            );
            if forks && room < wanted {
                action = Action::PauseAndResume;
            } else if forks {
                room -= wanted;
            }
            moves.push(Move {
                host: self.host,
                known,
                action,
                gap: self.random.gap(),
                children: wanted,
                word: format!("word{}", self.rounds),
            });
        }
        for each in &moves {
            let (id, action, gap) = (each.known.id, each.action, each.gap);
            tracing::warn!("round {}: {id} {action:?} {gap:?}", self.rounds);
        }
        let moves = moves.into_iter().map(Move::play);
        for after in self.host.block_on(join_all(moves)) {
            self.known.extend(after.known);
            self.templates.extend(after.template);
        }
        self.compare();
    }

    /// Nothing is under way now: the agent's list, its files and the guests are as the model has them.
    fn compare(&mut self) {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            match self.differs() {
                None => break,
                Some(how) => assert!(Instant::now() < until, "{how}\n{}", self.host.log()),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let running = self.known.iter().filter(|known| known.paused != Some(true));
        for known in running {
            let found = self.host.block_on(look(self.host, known.id));
            assert_eq!(must("look", found), known.holds, "{}", known.id);
        }
    }

    /// Takes the states that only the agent knows.
    fn differs(&mut self) -> Option<String> {
        let host = self.host;
        let listed = host.block_on(host.client.list_sandboxes(ListSandboxesRequest::default()));
        let mut listed = must("list", listed).into_owned().sandboxes;
        for known in &mut self.known {
            let id = known.id.to_string();
            let Some(at) = listed.iter().position(|found| found.sandbox_id == id) else {
                return Some(format!("{id} is not listed"));
            };
            let paused = match state(&listed.swap_remove(at)) {
                SandboxState::Running => false,
                SandboxState::Paused => true,
                other => return Some(format!("{id} is {other:?}")),
            };
            if *known.paused.get_or_insert(paused) != paused {
                return Some(format!("{id}: paused is {paused}"));
            }
        }
        if !listed.is_empty() {
            return Some(format!("these are too many: {listed:?}"));
        }
        let ours: BTreeSet<_> = self.known.iter().map(|each| each.id.to_string()).collect();
        let files = host.shell("ls /var/lib/wrenn/sandboxes").expect("list");
        let files: BTreeSet<_> = files.lines().map(str::to_owned).collect();
        (files != ours).then(|| format!("files of {files:?}, sandboxes {ours:?}"))
    }

    /// Everything that slept holds what it held; then all of it goes.
    fn end(mut self) {
        let host = self.host;
        let resumed = self.known.iter().map(|known| resume(host, known.id));
        for resumed in host.block_on(join_all(resumed)) {
            must("resume", resumed);
        }
        self.known
            .iter_mut()
            .for_each(|known| known.paused = Some(false));
        self.compare();
        let gone = self.known.iter().map(|known| destroy(host, known.id));
        for gone in host.block_on(join_all(gone)) {
            must("destroy", gone);
        }
        for (template, _) in &self.templates {
            must("delete", host.block_on(delete_template(host, *template)));
        }
    }
}

#[test]
fn a_random_run_goes_as_the_model_says() {
    let host = host();
    let before = host.census().expect("count");
    let templates = || host.shell("ls /var/lib/wrenn/templates").expect("list");
    let known = templates();
    let whole = std::env::var_os("WRENN_SOAK").is_some();
    let seconds = if whole { 600 } else { 60 };
    let random = Random::seeded("WRENN_MODEL_SEED");
    let mut model = Model {
        host: &host,
        random,
        known: Vec::new(),
        templates: Vec::new(),
        rounds: 0,
    };
    model.begin();
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        model.round();
    }
    model.end();
    host.await_census(&before).expect("nothing is left");
    assert_eq!(templates(), known);
}
