//! This replica's client certificate, renewed while connections go on.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme, client::ResolvesClientCert, crypto::aws_lc_rs::sign::any_ecdsa_type,
    sign::CertifiedKey,
};

use crate::ca::{CaError, CertificateAuthority};

/// Why the replica has no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The authority did not sign.
    #[error("the client certificate of this replica cannot be made")]
    Sign(#[from] CaError),
    /// TLS does not take the key.
    #[error("the client key of this replica cannot be used")]
    Key(#[from] rustls::Error),
}

/// The certificate that every handshake uses from now on.
pub(crate) struct Identity {
    ca: CertificateAuthority,
    current: ArcSwap<CertifiedKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn new(ca: CertificateAuthority) -> Result<Arc<Self>, IdentityError> {
        let current = ArcSwap::from_pointee(certify(&ca)?);
        Ok(Arc::new(Self { ca, current }))
    }

    /// Replaces the certificate; open connections keep theirs.
    pub(crate) fn renew(&self) -> Result<(), IdentityError> {
        self.current.store(Arc::new(certify(&self.ca)?));
        Ok(())
    }
}

fn certify(ca: &CertificateAuthority) -> Result<CertifiedKey, IdentityError> {
    let leaf = ca.sign_replica()?;
    let key = any_ecdsa_type(&leaf.key)?;
    Ok(CertifiedKey::new(vec![leaf.cert], key))
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
