//! Power cuts: what was reported as paused is there when the machine has started again.

use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::hostagent::SandboxState;

use crate::{
    calls::{create_of, destroy, keep, keep_request, pause, resume, state},
    contents::{fill, look},
    fixture::{create, get, host},
};

/// In order; the record is between the last two.
const STEPS: [&str; 8] = [
    "merged", "record", "prepare", "stop", "snapshot", "files", "disk", "paused",
];

#[test]
fn a_power_cut_loses_nothing_that_was_paused() {
    let mut host = host();
    let before = host.census().expect("count");
    let whole = std::env::var_os("WRENN_SOAK").is_some();
    // The record has just become durable, and nobody was told.
    let steps = if whole { &STEPS[..] } else { &STEPS[7..] };
    let asleep = create(&host);
    let holds = host.block_on(fill(&host, asleep, "asleep")).expect("fill");
    let template = TemplateId::new();
    let kept = keep(&host, keep_request(&host, asleep, template));
    host.block_on(kept).expect("keep");
    for step in steps {
        let id = SandboxId::new();
        let own = host.block_on(async {
            pause(&host, asleep).await.expect("it is paused");
            let created = create_of(&host, id, template).await;
            created.expect("what was kept is there");
            fill(&host, id, step).await.expect("fill")
        });
        host.arm(&format!("pause.after.{step}=stop")).expect("arm");
        let pausing = pause(&host, id);
        host.block_on(async {
            tokio::spawn(pausing);
            host.await_stop().expect(step);
        });
        host.cut_power().expect("it starts again");

        let found = get(&host, id).ok().map(|sandbox| state(&sandbox));
        let expected = (*step == "paused").then_some(SandboxState::Paused);
        assert_eq!(found, expected, "{step}");
        if found.is_some() {
            host.block_on(resume(&host, id)).expect("it is resumed");
            let held = host.block_on(look(&host, id)).expect("look");
            assert_eq!(held, own, "{step}");
            host.block_on(destroy(&host, id)).expect("destroy");
        }
        let told = get(&host, asleep).expect("it was paused");
        assert_eq!(state(&told), SandboxState::Paused, "{step}");
        let resumed = host.block_on(resume(&host, asleep));
        resumed.unwrap_or_else(|error| panic!("{step}: {error}\n{}", host.log()));
        let held = host.block_on(look(&host, asleep)).expect("look");
        assert_eq!(held, holds, "{step}");
    }
    host.block_on(async {
        destroy(&host, asleep).await.expect("destroy");
        let gone = crate::calls::delete_template(&host, template).await;
        gone.expect("delete");
    });
    host.await_census(&before).expect("nothing is left");
}
