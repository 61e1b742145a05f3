//! The guest's agent in a real guest, asked directly over the sandbox's address as the host asks it
//! (guest.md §3, §6, §8, §9): what only a VM can show.

use std::time::{Duration, Instant};

use serde_json::Value;
use wrenn_ids::SandboxId;
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::fixture::{create, destroy, exec, get, host, sh};

const DEADLINE: Duration = Duration::from_secs(60);

/// A guest's agent, with both secrets of its sandbox.
pub(crate) struct Envd<'a> {
    host: &'a AgentHost,
    pub(crate) address: String,
    pub(crate) access_token: String,
    /// The same for `curl`, and the host's key.
    token: String,
    key: String,
}

impl<'a> Envd<'a> {
    pub(crate) fn of(host: &'a AgentHost, id: SandboxId) -> Self {
        let manifest = format!("cat /var/lib/wrenn/sandboxes/{id}/manifest.json");
        let manifest = host.shell(&manifest).expect("the manifest is there");
        let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
        let secret = |name: &str| {
            let secret = manifest["live"][name].as_str();
            secret.expect("it is live").to_owned()
        };
        Self {
            host,
            address: get(host, id).expect("it runs").host_ip,
            access_token: secret("access_token"),
            token: format!("-H 'X-Access-Token: {}'", secret("access_token")),
            key: format!("-H 'X-Wrenn-Host-Key: {}'", secret("host_key")),
        }
    }

    /// Status and body of the answer to `curl` with these words and this path.
    fn ask(&self, words: &str, path: &str) -> (u16, String) {
        let line = format!(
            r"curl -s -m 30 -w '\n%{{http_code}}' {words} 'http://{}:49983{path}'",
            self.address
        );
        let answer = self.host.shell(&line).expect("it answers");
        let (body, status) = answer.rsplit_once('\n').expect("a status after the body");
        (status.parse().expect("a number"), body.to_owned())
    }

    fn post(&self, words: &str, path: &str) -> (u16, String) {
        self.ask(&format!("-X POST {words}"), path)
    }

    /// What the guest's counter stands at.
    fn count(&self) -> u64 {
        let (status, count) = self.ask(&self.token, "/files?path=/tmp/count&username=root");
        assert_eq!(status, 200, "{count}");
        count.trim().parse().unwrap_or(0)
    }
}

/// Begins to count in the background; each number takes the file's place whole.
fn begin_to_count(host: &AgentHost, id: SandboxId) {
    let count =
        "i=0; while :; do i=$((i+1)); echo $i >/tmp/new; mv /tmp/new /tmp/count; sleep 0.05; done";
    let line = format!(
        "setsid sh -c '{count}' >/dev/null 2>&1 & until [ -e /tmp/count ]; do sleep 0.05; done"
    );
    sh(host, id, &line);
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
    }
}

#[test]
fn only_the_host_holds_a_guest_still_and_it_goes_on_where_it_was() {
    let host = host();
    let id = create(&host);
    let envd = Envd::of(&host, id);
    let wrong =
        "-H 'X-Wrenn-Host-Key: 0000000000000000000000000000000000000000000000000000000000000000'";
    for path in ["/init", "/freeze", "/unfreeze", "/snapshot/prepare"] {
        for words in ["", &envd.token, wrong] {
            assert_eq!(envd.post(words, path).0, 401, "{path} with {words:?}");
        }
    }
    assert_eq!(envd.ask("", "/metrics").0, 401);
    assert_eq!(envd.ask("-H 'X-Access-Token: wrong'", "/metrics").0, 401);
    assert_eq!(envd.ask(&envd.token, "/metrics").0, 200);

    begin_to_count(&host, id);
    let (status, frozen) = envd.post(&envd.key, "/freeze");
    let frozen: Value = serde_json::from_str(&frozen).expect("JSON");
    assert_eq!(status, 200, "{frozen}");
    assert_eq!(frozen["notFrozen"], 0, "{frozen}");
    assert!(frozen["frozen"].as_u64() > Some(0), "{frozen}");
    let still = envd.count();
    host.shell("sleep 1").expect("time passes");
    assert_eq!(envd.count(), still, "it stands still");
    assert_eq!(envd.post(&envd.key, "/unfreeze").0, 204);
    until("it goes on", || envd.count() > still);

    for mode in ["full", "filesystem"] {
        let words = format!(
            r#"{} -H 'Content-Type: application/json' -d '{{"mode":"{mode}","dropCaches":true}}'"#,
            envd.key
        );
        let (status, prepared) = envd.post(&words, "/snapshot/prepare");
        assert_eq!(status, 200, "{prepared}");
        assert!(prepared.contains("syncMs"), "{prepared}");
        let (status, sealed) = envd.ask(&envd.token, "/files?path=/tmp/count&username=root");
        assert_eq!(status, 503, "{mode}: {prepared}, {sealed}");
        assert!(sealed.contains("sandbox is being snapshotted"), "{sealed}");
        assert_eq!(envd.ask("", "/health").0, 204);
        assert_eq!(envd.post(&envd.key, "/unfreeze").0, 204);
        assert_eq!(envd.post(&envd.key, "/unfreeze").0, 204, "twice is once");
        let before = envd.count();
        until("it goes on", || envd.count() > before);
        assert_eq!(
            sh(&host, id, "echo written >/root/new; cat /root/new"),
            "written\n"
        );
    }
    destroy(&host, id);
}

#[test]
fn a_deadline_counts_running_time_only() {
    let host = host();
    let id = create(&host);
    let envd = Envd::of(&host, id);
    let request = r#"{"process":{"cmd":"/bin/sleep","args":["600"]}}"#;
    let envelope = format!(
        r"\000\000\000\000\{:03o}{}",
        request.len(),
        request.replace('"', "\\042")
    );
    // Four seconds, of which the guest stands still for six in the middle.
    let line = format!(
        r#"printf '{envelope}' >/tmp/start; begun=$(date +%s%3N)
        curl -s -m 60 {token} -H 'Content-Type: application/connect+json' -H 'Connect-Timeout-Ms: 4000' \
            -H "Authorization: Basic $(printf root: | base64)" \
            --data-binary @/tmp/start http://{address}:49983/process.Process/Start >/tmp/stream & call=$!
        until [ -s /tmp/stream ]; do sleep 0.1; done
        curl -s -m 20 -X POST {key} -H 'Content-Type: application/json' -d '{{"mode":"full"}}' \
            http://{address}:49983/snapshot/prepare >/dev/null
        sleep 6
        curl -s -m 20 -X POST {key} http://{address}:49983/unfreeze
        wait $call; echo $(($(date +%s%3N) - begun)); tr '\000' ' ' </tmp/stream"#,
        token = envd.token,
        key = envd.key,
        address = envd.address,
    );
    let said = host.shell(&line).expect("the stream ends");
    let (took, stream) = said.split_once('\n').expect("a time before the stream");
    assert!(stream.contains("deadline_exceeded"), "{stream}");
    let took: u64 = took.parse().expect("milliseconds");
    assert!((9_500..40_000).contains(&took), "{took} ms: {stream}");
    destroy(&host, id);
}

#[test]
fn what_listens_on_loopback_is_reached_at_the_guests_address() {
    let host = host();
    let id = create(&host);
    let address = get(&host, id).expect("it runs").host_ip;
    // The looks are the host's own: a connection to it for each would be most of what its CPU does.
    let wait = |condition: &str, port: u16| {
        let line = format!(
            "for look in $(seq 300); do
                 {condition} curl -s -m 5 -o /dev/null http://{address}:{port}/ && exit; sleep 0.2
             done; exit 1"
        );
        host.shell(&line)
            .unwrap_or_else(|_| panic!("`{condition}` of port {port} never held"));
    };
    let servers = [(8001, "127.0.0.1"), (8002, "::1"), (8003, "0.0.0.0")];
    for (port, _) in servers {
        wait("!", port);
    }
    let program = format!(
        r#"
import select, socket
servers = []
for port, address in {servers:?}:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    servers.append(socket.create_server((address, port), family=family))
while True:
    for server in select.select(servers, [], [])[0]:
        client, _ = server.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.0 204 served\r\n\r\n")
        client.close()
"#
    );
    let line = "setsid python3 -I -c \"$0\" >/dev/null 2>&1 & echo $!";
    let pid = exec(&host, id, &["/bin/sh", "-c", line, &program]).expect("it starts");
    for (port, _) in servers {
        wait("", port);
    }
    let pid = String::from_utf8(pid.stdout).expect("a number");
    sh(&host, id, &format!("kill -9 {pid}"));
    for (port, _) in servers {
        wait("!", port);
    }
    destroy(&host, id);
}

#[test]
fn a_guest_is_what_it_is_said_to_be() {
    let host = host();
    let id = create(&host);
    for (line, expected) in [
        ("cat /proc/1/comm", "tini"),
        (
            "ls /run/systemd /lib/systemd/systemd 2>/dev/null | wc -l",
            "0",
        ),
        ("id -u user; id -nG user", "1000\nuser sudo"),
        ("su user -c 'sudo -n id -u'", "0"),
        ("passwd -S root | cut -d' ' -f2", "L"),
        (
            "pwd; echo $HOME; python --version | cut -d. -f1",
            "/root\n/root\nPython 3",
        ),
        (
            "sed -n 's/^0::.*\\(\\/user\\)$/\\1/p' /proc/self/cgroup",
            "/user",
        ),
        (
            "cd /sys/fs/cgroup; cat envd/cpu.weight pty/cpu.weight user/cpu.weight envd/memory.min",
            "300\n200\n50\n52428800",
        ),
        (
            "cd /sys/fs/cgroup; all=$(awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo)
             kept=$((all / 8)); [ $kept -ge 33554432 ] || kept=33554432
             [ $kept -le 134217728 ] || kept=134217728
             cat pty/memory.high pty/memory.max user/memory.high user/memory.max | uniq |
                 while read limit; do echo $((limit / 4096 - (all - kept) / 4096)); done
             echo $(($(cat user/pids.max) - $(cat /proc/sys/kernel/pid_max) * 9 / 10))",
            "0\n0",
        ),
        (
            "stat -c %a /dev/shm /tmp /run/wrenn/sandbox-id",
            "1777\n1777\n444",
        ),
        (
            "[ -L /etc/resolv.conf ] || grep -q '^nameserver ' /etc/resolv.conf && echo named",
            "named",
        ),
        ("cat /run/e2b/.E2B_SANDBOX", "true"),
        (
            "ip -4 -br addr show eth0 | awk '{print $3}'",
            "169.254.0.21/30",
        ),
        (
            "cat /proc/self/oom_score_adj; cat /proc/$(pgrep -x envd)/oom_score_adj",
            "100\n-1000",
        ),
        (
            "umask; ulimit -c >/dev/null; ls /proc/self/fd | wc -l",
            "0022\n4",
        ),
    ] {
        assert_eq!(sh(&host, id, line).trim(), expected, "{line}");
    }
    let id_text = id.to_string();
    assert_eq!(
        sh(&host, id, "cat /run/wrenn/sandbox-id").trim(),
        id_text.trim_start_matches("sb-")
    );

    // Orphans are tini's, and no zombie stays.
    exec(
        &host,
        id,
        &["sh", "-c", "for i in $(seq 200); do (sleep 0.01 &); done"],
    )
    .expect("it runs");
    until("no zombies", || {
        sh(&host, id, "ps -eo stat | grep -c ^Z || true").trim() == "0"
    });
    destroy(&host, id);
}

#[test]
fn a_guest_believes_its_host_about_time_and_names() {
    let host = host();
    let id = create(&host);
    let envd = Envd::of(&host, id);
    sh(&host, id, "date -s @$(($(date +%s) - 30))");
    let line = format!(
        r#"curl -s -m 30 -D - -X POST {key} -H 'Content-Type: application/json' -d '{{
            "generationId":"another","timestamp":"'$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)'",
            "accessToken":"{token}","entropy":"'$(head -c 32 /dev/urandom | base64)'",
            "hostname":"renamed","dnsServers":["192.0.2.53","2001:db8::53"]
        }}' http://{address}:49983/init; date +%s"#,
        key = envd.key,
        token = envd.access_token,
        address = envd.address,
    );
    let answer = host.shell(&line).expect("it answers").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 204"), "{answer}");
    let header = |name: &str| {
        let value = answer.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_else(|| panic!("{name} in {answer}")).trim()
    };
    let step: i64 = header("x-wrenn-clock-step-ms:").parse().expect("a number");
    assert!((28_000..34_000).contains(&step), "{step} ms");
    assert_eq!(header("x-envd-version:"), "0.6.4");
    assert!(!header("x-wrenn-version:").is_empty());
    let told: i64 = answer
        .lines()
        .last()
        .and_then(|now| now.parse().ok())
        .expect("a time");
    let now: i64 = sh(&host, id, "date +%s").trim().parse().expect("a time");
    assert!((0..15).contains(&(now - told)), "{now} after {told}");
    assert_eq!(
        sh(
            &host,
            id,
            "hostname; tail -n 1 /etc/hosts; cat /etc/resolv.conf"
        ),
        "renamed\n127.0.1.1 renamed\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n\
         options timeout:2 attempts:2\n"
    );
    // Half of SHA-256("another").
    let machine = sh(
        &host,
        id,
        "printf another | sha256sum | cut -c 1-32; cat /etc/machine-id",
    );
    let (half, machine) = machine.split_once('\n').expect("two lines");
    assert_eq!(machine.trim(), half);
    destroy(&host, id);
}
