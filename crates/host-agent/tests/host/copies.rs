//! Forks and snapshot templates: many from one, each its own.

use std::collections::HashSet;

use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode},
    hostagent::{ListTemplatesRequest, Sandbox, SandboxState, Template, error_detail::Reason},
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{self, delete_template, fork_request, keep_request, patient},
    fixture::{create, create_request, destroy, flip, get, host, reason, sh},
    pausing::{try_pause, try_resume},
};

fn fork(
    host: &AgentHost,
    id: SandboxId,
    children: &[SandboxId],
) -> Result<Vec<Sandbox>, ConnectError> {
    host.block_on(calls::fork(host, fork_request(host, id, children)))
}

fn keep(host: &AgentHost, id: SandboxId, template: TemplateId) -> Template {
    let request = keep_request(host, id, template);
    let kept = host.client.create_snapshot_with_options(request, patient());
    match host.block_on(kept) {
        Ok(kept) => kept
            .into_owned()
            .template
            .into_option()
            .expect("it is told"),
        Err(error) => panic!("keep: {error}\n{}", host.log()),
    }
}

fn state(host: &AgentHost, id: SandboxId) -> SandboxState {
    calls::state(&get(host, id).expect("it is known"))
}

/// What must differ between any two that come from one.
fn identity(host: &AgentHost, id: SandboxId) -> [String; 4] {
    let told = sh(
        host,
        id,
        "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; \
         cat /proc/sys/kernel/random/uuid /etc/machine-id; hostname",
    );
    let lines: Vec<String> = told.lines().map(str::to_owned).collect();
    lines.try_into().expect("four lines")
}

#[test]
fn forks_have_all_of_it_and_are_pairwise_different() {
    let host = host();
    let before = host.census().expect("count");
    let whole = std::env::var_os("WRENN_SOAK").is_some();
    let count = if whole { 8 } else { 2 };
    let id = create(&host);
    sh(
        &host,
        id,
        "echo file > /root/file; echo hot > /dev/shm/hot; sleep 100000 > /dev/null 2>&1 &",
    );
    let children: Vec<_> = (0..count).map(|_| SandboxId::new()).collect();
    let forked = match fork(&host, id, &children) {
        Ok(forked) => forked,
        Err(error) => panic!("fork: {error}\n{}", host.log()),
    };
    let names: Vec<_> = forked
        .iter()
        .map(|child| child.sandbox_id.clone())
        .collect();
    let asked: Vec<_> = children.iter().map(ToString::to_string).collect();
    assert_eq!(names, asked);

    let all = || children.iter().chain([&id]).copied();
    let mut seen = HashSet::new();
    for each in all() {
        assert_eq!(state(&host, each), SandboxState::Running);
        let same = sh(&host, each, "cat /root/file /dev/shm/hot; pgrep -c sleep");
        assert_eq!(same, "file\nhot\n1\n");
        let identity = identity(&host, each);
        assert_eq!(identity[3], each.to_string());
        for mark in identity {
            assert!(seen.insert(mark.clone()), "{mark} is not its own");
        }
        let ms = |text: String| text.trim().parse::<i64>().expect("a time");
        let near = ms(host.shell("date +%s%3N").expect("the host's clock"));
        let guest = ms(sh(&host, each, "date +%s%3N"));
        let after = ms(host.shell("date +%s%3N").expect("the host's clock"));
        assert!(
            near - 500 < guest && guest < after + 500,
            "{near} {guest} {after}"
        );
    }
    // Each has a disk and a memory of its own from now on.
    for each in all() {
        sh(
            &host,
            each,
            "hostname > /root/file; hostname > /dev/shm/hot",
        );
    }
    for each in all() {
        let own = sh(&host, each, "cat /root/file /dev/shm/hot");
        assert_eq!(own, format!("{each}\n{each}\n"));
    }
    // Of a paused one too, which stays so; its generations and its children's do not need each other.
    try_pause(&host, id).expect("it is paused");
    let late = SandboxId::new();
    fork(&host, id, &[late]).expect("it is forked");
    assert_eq!(state(&host, id), SandboxState::Paused);
    assert_eq!(sh(&host, late, "cat /dev/shm/hot"), format!("{id}\n"));
    destroy(&host, id);
    try_pause(&host, children[0]).expect("it is paused");
    try_resume(&host, children[0]).expect("it is resumed");
    let own = sh(&host, children[0], "cat /dev/shm/hot");
    assert_eq!(own, format!("{}\n", children[0]));
    for child in children.into_iter().chain([late]) {
        destroy(&host, child);
    }
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn a_fork_that_fails_leaves_the_source_and_no_child() {
    let host = host();
    let before = host.census().expect("count");
    let id = create(&host);
    sh(&host, id, "echo hot > /dev/shm/hot");
    let children = [SandboxId::new(), SandboxId::new()];
    for point in ["pause.after.files", "resume.after.launch"] {
        host.arm(&format!("{point}=fail")).expect("arm");
        let error = fork(&host, id, &children).expect_err(point);
        assert_eq!(error.code, ErrorCode::Internal, "{point}: {error}");
        host.disarm().expect("disarm");
        assert_eq!(sh(&host, id, "cat /dev/shm/hot"), "hot\n");
        for child in children {
            let gone = get(&host, child).expect_err("it is not there");
            assert_eq!(gone.code, ErrorCode::NotFound);
        }
    }
    one_child_fails(&host, id, &children);
    fork(&host, id, &children).expect("it can be tried again");
    let taken = fork(&host, id, &children).expect_err("they are there");
    assert_eq!(taken.code, ErrorCode::FailedPrecondition);
    let twice = fork(&host, id, &[children[0], children[0]]).expect_err("twice the same");
    assert_eq!(twice.code, ErrorCode::InvalidArgument);
    for each in children.into_iter().chain([id]) {
        destroy(&host, each);
    }
    host.await_census(&before).expect("nothing is left");
}

/// Has the second child fail once the first is about to run: then neither is there.
fn one_child_fails(host: &AgentHost, id: SandboxId, children: &[SandboxId; 2]) {
    host.arm("resume.after.load=stop").expect("arm");
    let forking = calls::fork(host, fork_request(host, id, children));
    let forked = host.block_on(async {
        let call = tokio::spawn(forking);
        host.await_stop().expect("the first child comes to it");
        // Where one starts at a time, which is so on one processor, the second comes to it after this.
        host.go_on_with("resume.after.launch=fail")
            .expect("it goes on");
        call.await.expect("the call ends")
    });
    host.disarm().expect("disarm");
    assert_eq!(
        forked.expect_err("a child failed").code,
        ErrorCode::Internal
    );
    for child in children {
        let gone = get(host, *child).expect_err("it is not there");
        assert_eq!(gone.code, ErrorCode::NotFound);
    }
}

#[test]
fn a_fork_goes_on_when_its_caller_hangs_up() {
    let host = host();
    let before = host.census().expect("count");
    let id = create(&host);
    sh(&host, id, "echo hot > /dev/shm/hot");
    let children = [SandboxId::new(), SandboxId::new()];
    host.arm("pause.after.snapshot=stop").expect("arm");
    let forking = calls::fork(&host, fork_request(&host, id, &children));
    host.block_on(async {
        let call = tokio::spawn(forking);
        host.await_stop().expect("it comes to the fork");
        call.abort();
        assert!(call.await.expect_err("it hung up").is_cancelled());
    });
    host.go_on().expect("it goes on");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let runs = |id| get(&host, id).is_ok_and(|it| calls::state(&it) == SandboxState::Running);
    while !children.iter().all(|child| runs(*child)) {
        assert!(std::time::Instant::now() < until, "{}", host.log());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    for child in children {
        assert_eq!(sh(&host, child, "cat /dev/shm/hot"), "hot\n");
    }
    for each in children.into_iter().chain([id]) {
        destroy(&host, each);
    }
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn sandboxes_are_made_from_a_snapshot_template_that_outlives_its_source() {
    let host = host();
    let before = host.census().expect("count");
    let template = TemplateId::new();
    let id = create(&host);
    sh(
        &host,
        id,
        "echo file > /root/file; echo hot > /dev/shm/hot; sleep 100000 > /dev/null 2>&1 &",
    );
    let kept = keep(&host, id, template);
    assert_eq!((kept.vcpus, kept.memory_mib, &*kept.name), (1, 256, "kept"));
    assert!(kept.size_bytes > 1 << 20);
    assert_eq!(sh(&host, id, "cat /dev/shm/hot"), "hot\n", "it runs on");
    let listed = host.block_on(host.client.list_templates(ListTemplatesRequest::default()));
    let listed = listed.expect("they are listed").into_owned().templates;
    assert!(
        listed
            .iter()
            .any(|found| found.template_id == template.to_string())
    );
    destroy(&host, id);
    host.shell("mkdir -p /var/lib/wrenn/templates/tpl-half/gen-1")
        .expect("as a cut-off creation leaves it");
    host.kill_agent().expect("it starts again");
    let left = host.shell("ls /var/lib/wrenn/templates").expect("list");
    assert_eq!(left.trim(), template.to_string());

    let made = [SandboxId::new(), SandboxId::new()];
    for child in made {
        let mut request = create_request(&host, child);
        request.template_id = template.to_string();
        request.memory_mib = 1024; // baked values hold
        request.envs.insert("OWN".to_owned(), child.to_string());
        let created = host.block_on(host.client.create_sandbox_with_options(request, patient()));
        if let Err(error) = created {
            panic!("create: {error}\n{}", host.log());
        }
        assert_eq!(get(&host, child).expect("it is there").memory_mib, 256);
        let found = sh(
            &host,
            child,
            "cat /root/file /dev/shm/hot; pgrep -c sleep; echo $OWN; hostname",
        );
        assert_eq!(found, format!("file\nhot\n1\n{child}\n{child}\n"));
    }
    for _ in 0..2 {
        host.block_on(delete_template(&host, template))
            .expect("it is deleted");
    }
    try_pause(&host, made[0]).expect("it is paused");
    try_resume(&host, made[0]).expect("it needs no template");
    assert_eq!(sh(&host, made[0], "cat /dev/shm/hot"), "hot\n");
    for child in made {
        destroy(&host, child);
    }
    host.await_census(&before).expect("nothing is left");
}

/// Bytes that all of the agent's files occupy; what has several names counts once.
fn used(host: &AgentHost) -> u64 {
    let used = host.shell("sync; du -s --block-size=1 /var/lib/wrenn | cut -f1");
    used.expect("measure").trim().parse().expect("a number")
}

#[test]
fn clones_share_one_disk_and_the_last_of_them_takes_it_along() {
    const WRITTEN: u64 = 64 << 20;
    let host = host();
    let before = host.census().expect("count");
    let empty = used(&host);
    let id = create(&host);
    let mib = WRITTEN >> 20;
    let line = format!("head -c {mib}M /dev/urandom > /root/big && sync && sha256sum /root/big");
    let expected = sh(&host, id, &line);
    let template = TemplateId::new();
    keep(&host, id, template);
    destroy(&host, id);
    let one = used(&host);

    let count = if std::env::var_os("WRENN_SOAK").is_some() {
        20
    } else {
        3
    };
    let clones: Vec<_> = (0..count).map(|_| SandboxId::new()).collect();
    for clone in &clones {
        let mut request = create_request(&host, *clone);
        request.template_id = template.to_string();
        let created = host.block_on(host.client.create_sandbox_with_options(request, patient()));
        if let Err(error) = created {
            panic!("create: {error}\n{}", host.log());
        }
        assert_eq!(sh(&host, *clone, "sha256sum /root/big"), expected);
    }
    let each = (used(&host) - one) / count;
    assert!(each < WRITTEN / 8, "{each} bytes a clone");

    // One is paused and found with what it alone wrote, under an agent that was killed meanwhile.
    let (last, others) = clones.split_last().expect("several");
    sh(&host, *last, "echo own > /root/own; sync");
    try_pause(&host, *last).expect("it is paused");
    for clone in others {
        destroy(&host, *clone);
    }
    host.block_on(delete_template(&host, template))
        .expect("it is deleted");
    host.kill_agent().expect("it starts again");
    let frozen = format!("/var/lib/wrenn/sandboxes/{last}/disk-0.img");
    flip(&host, &frozen);
    let refused = try_resume(&host, *last).expect_err("its disk is damaged");
    assert_eq!(
        (refused.code, reason(&refused)),
        (ErrorCode::DataLoss, Reason::SNAPSHOT_DAMAGED)
    );
    flip(&host, &frozen);
    try_resume(&host, *last).expect("it is resumed");
    let found = sh(&host, *last, "sha256sum /root/big; cat /root/own");
    assert_eq!(found, format!("{expected}own\n"));
    host.kill_agent().expect("it starts again");
    assert_eq!(sh(&host, *last, "cat /root/own"), "own\n");
    destroy(&host, *last);
    host.await_census(&before).expect("nothing is left");
    let left = used(&host).saturating_sub(empty);
    assert!(left < 1 << 20, "{left} bytes stay");
}
