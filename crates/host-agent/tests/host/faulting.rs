//! The agent dies while restored guests bring their memory in through page servers.

use std::time::{Duration, Instant};

use futures::future::join_all;
use wrenn_ids::SandboxId;
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{fork, fork_request, pause, resume, shell},
    contents::{fill, look},
    fixture::{SERVED, create, destroy, host, sh},
};

/// Guests that are restored; all eight with `WRENN_SOAK`.
fn restored() -> usize {
    if std::env::var_os("WRENN_SOAK").is_some() {
        8
    } else {
        3
    }
}

/// What each reads: slowly, until it is told that a new agent has come up.
const MIB: u32 = 24;
const WALKER: &str = r#"
import hashlib, os, random, signal, sys, time
mib = int(sys.argv[1])
block = bytearray(random.Random(7).randbytes(1 << 20) * mib)
for i in range(mib):
    block[i << 20] = i & 0xff
print(hashlib.md5(block).hexdigest(), flush=True)
while True:
    signal.sigwait([signal.SIGUSR1])
    whole = hashlib.md5()
    for at in range(0, len(block), 1 << 18):
        whole.update(block[at:at + (1 << 18)])
        if not os.path.exists("/dev/shm/quick"):
            time.sleep(0.5)
    with open("/dev/shm/walking", "w") as told:
        print(whole.hexdigest(), file=told)
    os.rename("/dev/shm/walking", "/dev/shm/walked")
"#;

/// KiB of guest memory that are here.
fn resident(host: &AgentHost) -> u64 {
    let each = "for p in $(pgrep -x firecracker); do grep ^RssAnon /proc/$p/status; done";
    let told = host.shell(each).expect("look");
    let kib = told
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok());
    kib.sum()
}

#[test]
fn restored_guests_go_on_faulting_while_the_agent_dies() {
    let host = host();
    let before = host.census().expect("count");
    host.arm(SERVED).expect("arm");
    let id = create(&host);
    let start = format!(
        "cat > /root/walker.py <<'END'\n{WALKER}\nEND\n\
         mkfifo /root/ready; \
         python3 -c 'import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); \
         os.setsid(); os.execvp(\"python3\", [\"python3\", \"/root/walker.py\", \"{MIB}\"])' \
         > /root/ready 2> /root/errors < /dev/null & head -1 /root/ready; cat /root/errors"
    );
    let expected = sh(&host, id, &start);
    assert_eq!(expected.len(), 33, "{expected}");
    // Two generations: what is restored from them needs a page server.
    for word in ["one", "two"] {
        host.block_on(async {
            fill(&host, id, word).await.expect("it is filled");
            pause(&host, id).await.expect("it is paused");
        });
        if word == "one" {
            host.block_on(resume(&host, id)).expect("it is resumed");
        }
    }
    let children: Vec<_> = (0..restored()).map(|_| SandboxId::new()).collect();
    let forked = host.block_on(fork(&host, fork_request(&host, id, &children)));
    if let Err(error) = forked {
        panic!("fork: {error}\n{}", host.log());
    }
    let servers = host
        .shell("pgrep -fc '[p]age-server' || true")
        .expect("look");
    assert_eq!(servers.trim(), children.len().to_string(), "page servers");
    let each = |line: &'static str| {
        let asked = children.iter().map(|child| shell(&host, *child, line));
        let told = host.block_on(join_all(asked)).into_iter();
        told.map(|told| told.expect(line)).collect::<Vec<_>>()
    };
    // A word of its own that only a process of it knows, since it was restored.
    let words = children.iter().map(|child| {
        let (client, word) = (&host, child.to_string());
        let child = *child;
        async move { fill(client, child, &word).await.expect("it is filled") }
    });
    let words: Vec<_> = host.block_on(join_all(words));
    let ages = each("cut -d. -f1 /proc/uptime");
    each("pkill -USR1 -f ^python3./root/walker.py");
    let at_death = resident(&host);
    host.kill_agent().expect("it starts again");
    let back = resident(&host);
    let walking = each("cat /dev/shm/walked 2>/dev/null || echo no");
    assert!(
        walking.iter().any(|walked| walked == "no\n"),
        "they are done before the agent is back"
    );

    each("touch /dev/shm/quick");
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let walked = each("cat /dev/shm/walked 2>/dev/null || echo no");
        if walked.iter().all(|walked| *walked == expected) {
            break;
        }
        assert!(
            walked
                .iter()
                .all(|walked| walked == "no\n" || *walked == expected),
            "{walked:?}"
        );
        assert!(Instant::now() < until, "{walked:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let end = resident(&host);
    tracing::warn!(
        "KiB resident: {at_death} at the agent's death, {back} when it was back, {end} at the end"
    );
    assert!(back > at_death, "nothing came in while there was no agent");
    let held = children.iter().map(|child| look(&host, *child));
    for (held, word) in host.block_on(join_all(held)).into_iter().zip(words) {
        assert_eq!(held.expect("look"), word);
    }
    for (age, old) in each("cut -d. -f1 /proc/uptime").iter().zip(ages) {
        let seconds = |age: &str| age.trim().parse::<u64>().expect("seconds");
        assert!(seconds(age) >= seconds(&old), "{age} {old}");
    }
    for each in children.into_iter().chain([id]) {
        destroy(&host, each);
    }
    host.disarm().expect("disarm");
    host.await_census(&before).expect("nothing is left");
}
