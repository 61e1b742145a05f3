//! What a host's operator sees of a snapshot's files.

use std::{fs, process::Command};

use serde_json::Value;
use wrenn_ids::SandboxId;
use wrenn_memory::{LayerId, Mapping, PAGE_BYTES, Written, header, layer_file};

#[test]
fn a_snapshot_is_described_by_its_layers() {
    let state = tempfile::tempdir().unwrap();
    let id = SandboxId::new();
    let directory = state.path().join(format!("sandboxes/{id}/gen-12"));
    fs::create_dir_all(&directory).unwrap();
    fs::create_dir_all(directory.with_file_name("gen-9")).unwrap();
    let (below, above) = (LayerId::from_bytes([1; 16]), LayerId::from_bytes([2; 16]));
    let data = |pages: std::ops::Range<u64>| Written::Data {
        at: pages.start,
        pages,
    };
    let mapping = Mapping::zero(1024)
        .and_then(|zero| zero.overlaid(below, &[data(0..512)]))
        .and_then(|flat| flat.overlaid(above, &[data(3..4)]))
        .unwrap();
    fs::write(directory.join("memory"), header::encode(&mapping)).unwrap();
    for layer in [below, above] {
        let file = fs::File::create(directory.join(layer_file(layer))).unwrap();
        file.set_len(1024 * PAGE_BYTES).unwrap();
    }
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wrenn"));
        let state = state.path().display().to_string();
        command.args(words).args(["--state-dir", &state]);
        command.output().unwrap()
    };
    let shown = run(&["debug", "snapshot", &id.to_string()]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{text}");
    for part in [
        "4 MiB",
        "2 MiB",
        "4 KiB",
        &below.to_string(),
        &above.to_string(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = run(&["--json", "debug", "snapshot", &id.to_string()]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["runs"], 4);
    assert_eq!(json["layers"][1]["seen_bytes"], PAGE_BYTES);
    let other = SandboxId::new().to_string();
    assert_eq!(run(&["debug", "snapshot", &other]).status.code(), Some(5));
    assert_eq!(run(&["debug", "snapshot", "../x"]).status.code(), Some(2));
    fs::write(directory.join("memory"), "nothing").unwrap();
    assert!(
        !run(&["debug", "snapshot", &id.to_string()])
            .status
            .success()
    );
}
