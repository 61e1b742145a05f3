//! What a sandbox holds that must not be lost: a file, memory, and a word that only a running process knows.

use wrenn_ids::SandboxId;
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::calls::{Answer, shell};

/// Tells all of it, in lines: the file's hash, the memory's hash, the process's word, and when it was booted.
const LOOK: &str = "cat /root/files/* | md5sum; md5sum < /dev/shm/memory; \
    tr '\\0' '\\n' < /proc/$(cat /dev/shm/pid)/environ | grep ^WORD=; \
    cat /proc/sys/kernel/random/boot_id";

/// Puts `word` and random bytes into it, in place of what was there; tells what it holds then.
pub(crate) fn fill(
    host: &AgentHost,
    id: SandboxId,
    word: &str,
) -> impl Future<Output = Answer<String>> + Send + use<> {
    // Its environment is its own once it has begun.
    let line = format!(
        "kill -9 $(cat /dev/shm/pid 2>/dev/null) 2>/dev/null; mkdir -p /root/files; \
         for n in 1 2 3; do head -c 16384 /dev/urandom > /root/files/$n; done; sync; \
         head -c 1048576 /dev/urandom > /dev/shm/memory; \
         WORD={word} setsid sleep 1000000 > /dev/null 2>&1 < /dev/null & echo $! > /dev/shm/pid; \
         until grep -qz ^WORD= /proc/$!/environ; do :; done; {LOOK}"
    );
    shell(host, id, &line)
}

/// What it holds.
pub(crate) fn look(
    host: &AgentHost,
    id: SandboxId,
) -> impl Future<Output = Answer<String>> + Send + use<> {
    shell(host, id, LOOK)
}
