//! What a host must prove: a leaf of our authority for the dialled address, the pinned certificate, and
//! the host's own URI in it.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::extensions::GeneralName;

use crate::ca;

/// Accepts one host and nobody else.
#[derive(Debug)]
pub(super) struct PinnedHost {
    pub(super) chain: Arc<WebPkiServerVerifier>,
    pub(super) uri: String,
    /// Current fingerprint, and the one before for a while after a rotation.
    pub(super) fingerprints: Vec<Vec<u8>>,
}

impl PinnedHost {
    fn names_host(&self, leaf: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) else {
            return false;
        };
        let Ok(Some(names)) = parsed.subject_alternative_name() else {
            return false;
        };
        names
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::URI(uri) if *uri == self.uri))
    }
}

impl ServerCertVerifier for PinnedHost {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint = ca::fingerprint(leaf);
        if !self
            .fingerprints
            .iter()
            .any(|pinned| pinned.as_slice() == fingerprint)
        {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let verified = self
            .chain
            .verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        if self.names_host(leaf) {
            Ok(verified)
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
