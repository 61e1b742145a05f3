//! Generates the RPC code of `crates/rpc` from its `.proto` files.
//!
//! The compiler is a Rust library, so no `protoc` is needed; the result is checked in, so that a build
//! of the product needs neither.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use protox::prost::Message as _;

const FILES: [&str; 3] = [
    "hostagent/v1/hostagent.proto",
    "process/process.proto",
    "filesystem/filesystem.proto",
];

/// Writes the generated code.
pub(crate) fn run() -> Result<()> {
    let generated = generated();
    let fresh = generate()?;
    let _ = fs::remove_dir_all(&generated);
    fs::create_dir_all(&generated)?;
    for (name, text) in fresh {
        fs::write(generated.join(&name), text)
            .with_context(|| format!("write {}", name.display()))?;
    }
    Ok(())
}

#[test]
fn generated_code_is_fresh() -> Result<()> {
    let stale = generate()? != read_tree(&generated())?;
    assert!(
        !stale,
        "crates/rpc/src/generated is stale: run the `codegen` task"
    );
    Ok(())
}

fn generated() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rpc/src/generated")
}

/// Each file's name and text.
fn generate() -> Result<BTreeMap<PathBuf, String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rpc");
    let proto = root.join("proto");

    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    let descriptors = scratch.path().join("descriptors.bin");
    let set = protox::Compiler::new([&proto])
        .context("open the proto directory")?
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)
        .context("compile the proto files")?
        .file_descriptor_set();
    fs::write(&descriptors, set.encode_to_vec()).context("write the descriptor set")?;

    let out = scratch.path().join("out");
    fs::create_dir(&out)?;
    connectrpc_build::Config::new()
        .files(&FILES)
        .descriptor_set(&descriptors)
        .out_dir(&out)
        .include_file("mod.rs")
        .gate_client_feature(true)
        .emit_rerun_directives(false)
        .compile()
        .context("generate the Rust code")?;

    read_tree(&out)
}

fn read_tree(dir: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        let name = PathBuf::from(path.file_name().context("a file without a name")?);
        files.insert(name, fs::read_to_string(&path)?);
    }
    Ok(files)
}
