//! All fuzz targets in one binary, which costs one link: `WRENN_FUZZ_TARGET` names the one to run, and the
//! arguments are libFuzzer's.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wrenn_envd::fuzzing::{TARGETS, Target, target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("WRENN_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        panic!("WRENN_FUZZ_TARGET is '{name}' and not one of {names}")
    })
}

fuzz_target!(|data: &[u8]| CHOSEN.get_or_init(chosen)(data));
