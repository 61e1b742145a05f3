//! Installs a certificate authority that the host wants the guest to trust.

use std::{fs, io, path::Path};

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const OWN: &str = "/usr/local/share/ca-certificates/wrenn.crt";
const BEGIN: &str = "# wrenn: begin";
const END: &str = "# wrenn: end";

/// Whether `pem` looks like certificates and nothing else.
pub(crate) fn is_bundle(pem: &str) -> bool {
    pem.contains("-----BEGIN CERTIFICATE-----")
        && !pem.contains("PRIVATE KEY")
        && pem
            .bytes()
            .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
}

/// Replaces what an earlier call installed, beside the system's own certificates.
pub(crate) fn install(pem: &str) -> io::Result<()> {
    let own = Path::new(OWN);
    if let Some(directory) = own.parent() {
        fs::create_dir_all(directory)?;
    }
    super::replace_file(own, pem.as_bytes(), 0o644)?;
    let bundle = fs::read_to_string(BUNDLE).unwrap_or_default();
    if let Some(directory) = Path::new(BUNDLE).parent() {
        fs::create_dir_all(directory)?;
    }
    super::replace_file(Path::new(BUNDLE), with(&bundle, pem).as_bytes(), 0o644)
}

fn with(bundle: &str, pem: &str) -> String {
    let system = bundle
        .split_once(BEGIN)
        .map_or(bundle, |(system, _)| system);
    format!("{}\n{BEGIN}\n{}\n{END}\n", system.trim_end(), pem.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_leaves_the_second_alone() {
        let once = with("SYSTEM\n", "ONE");
        assert_eq!(once, "SYSTEM\n# wrenn: begin\nONE\n# wrenn: end\n");
        assert_eq!(with(&once, "TWO"), with("SYSTEM\n", "TWO"));
    }

    #[test]
    fn keys_and_binary_rubbish_are_no_bundle() {
        let good = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        assert!(is_bundle(good));
        assert!(!is_bundle("hello"));
        assert!(!is_bundle(&format!("{good}-----BEGIN PRIVATE KEY-----")));
        assert!(!is_bundle(&format!("{good}\u{7f}")));
    }
}
