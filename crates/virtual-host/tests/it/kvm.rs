//! The probe on this machine, whatever it is. Inside a virtual host the same test must find KVM
//! usable: `machine.rs` runs it there.

use wrenn_virtual_host::kvm;

/// Set where KVM is known to work.
pub(crate) const EXPECT_KVM: &str = "WRENN_TEST_EXPECT_KVM";

#[test]
fn the_probe_answers_in_a_sentence() {
    let answer = kvm::usable();
    if std::env::var_os(EXPECT_KVM).is_some() {
        answer.unwrap();
    } else if let Err(why) = answer {
        let why = why.to_string();
        assert!(why.len() > 20 && !why.contains('\n'), "{why}");
    }
}
