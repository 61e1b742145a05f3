//! The certificate authority of hosts and replicas.
//!
//! ECDSA P-256, 10 years, path length 0. It signs host leaves (7 days, serverAuth, the dialled address and
//! `wrenn://host/<id>` as names) and each replica's own client leaf (24 h, clientAuth,
//! `wrenn://control-plane`). Subject and extensions are always ours; a host's request contributes its
//! public key and nothing else.

use std::{fmt, net::IpAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm, string::Ia5String,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use wrenn_ids::HostId;

/// URI that names a control-plane replica to agents.
pub const CONTROL_PLANE_URI: &str = "wrenn://control-plane";
/// Life of a host's leaf.
const HOST_LIFE: Duration = Duration::days(7);
/// Life of a replica's leaf; renewed at half of it.
const REPLICA_LIFE: Duration = Duration::hours(24);
/// Leaves begin this much earlier, so that a host whose clock is behind accepts them.
const SKEW: Duration = Duration::minutes(5);

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// The certificate is not PEM, not an authority, or expired.
    #[error("the certificate is not one of a valid certificate authority")]
    Certificate,
    /// The key is not a usable PEM key.
    #[error("the key cannot be read")]
    Key(#[source] rcgen::Error),
    /// The key does not belong to the certificate.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// A host's certificate request is not usable.
    #[error("the certificate request is malformed or not signed by its key")]
    Request,
    /// Signing failed.
    #[error("a certificate cannot be signed")]
    Sign(#[source] rcgen::Error),
}

/// Certificate and key of an authority, as PEM texts.
#[derive(Clone)]
pub struct GeneratedCa {
    /// Certificate.
    pub cert_pem: String,
    /// Private key.
    pub key_pem: String,
}

impl fmt::Debug for GeneratedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedCa")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// Makes a new authority.
///
/// # Errors
/// The crypto library refuses.
pub fn generate() -> Result<GeneratedCa, CaError> {
    let key = new_key()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Wrenn host authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, Duration::days(3652));
    let certificate = params.self_signed(&key).map_err(CaError::Sign)?;
    Ok(GeneratedCa {
        cert_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}

/// Reads an authority from its PEM texts.
///
/// # Errors
/// They are unusable or do not belong together.
pub fn load(cert_pem: &str, key_pem: &str) -> Result<CertificateAuthority, CaError> {
    CertificateAuthority::from_pem(cert_pem, key_pem)
}

/// An authority that signs.
#[derive(Clone)]
pub struct CertificateAuthority {
    cert_pem: String,
    cert_der: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .finish_non_exhaustive()
    }
}

/// A certificate request whose signature has been checked.
pub(crate) struct HostRequest(CertificateSigningRequestParams);

impl HostRequest {
    /// Reads a request. Only ECDSA P-256 keys are taken.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, CaError> {
        if pem.len() > 16 * 1024 {
            return Err(CaError::Request);
        }
        let request =
            CertificateSigningRequestParams::from_pem(pem).map_err(|_| CaError::Request)?;
        let algorithm: &SignatureAlgorithm = request.public_key.algorithm();
        if *algorithm == PKCS_ECDSA_P256_SHA256 {
            Ok(Self(request))
        } else {
            Err(CaError::Request)
        }
    }
}

/// A signed host certificate.
pub(crate) struct HostLeaf {
    pub(crate) cert_pem: String,
    pub(crate) fingerprint: [u8; 32],
}

/// A replica's own identity.
pub(crate) struct ReplicaLeaf {
    pub(crate) cert: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl CertificateAuthority {
    /// Reads an authority from its PEM texts.
    ///
    /// # Errors
    /// They are unusable or do not belong together.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let cert_der = CertificateDer::from_pem_slice(cert_pem.as_bytes())
            .map_err(|_| CaError::Certificate)?;
        let key = KeyPair::from_pem(key_pem).map_err(CaError::Key)?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&cert_der).map_err(|_| CaError::Certificate)?;
        if !parsed.is_ca() || !parsed.validity().is_valid() {
            return Err(CaError::Certificate);
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(CaError::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&cert_der, key).map_err(|_| CaError::Certificate)?;
        Ok(Self {
            cert_pem: cert_pem.to_owned(),
            cert_der,
            issuer: Arc::new(issuer),
        })
    }

    /// The certificate, for agents.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority as the only root.
    pub(crate) fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert_der.clone())?;
        Ok(roots)
    }

    /// Signs the leaf of a host that is dialled at `address` (`host:port`).
    pub(crate) fn sign_host(
        &self,
        request: &HostRequest,
        host: HostId,
        address: &str,
    ) -> Result<HostLeaf, CaError> {
        let dialled = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let dialled = dialled.trim_start_matches('[').trim_end_matches(']');
        let dialled = match dialled.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(ia5(dialled)?),
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&host.to_string());
        params.subject_alt_names = vec![dialled, SanType::URI(ia5(&host_uri(host))?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, HOST_LIFE);
        let leaf = params
            .signed_by(&request.0.public_key, &self.issuer)
            .map_err(CaError::Sign)?;
        Ok(HostLeaf {
            cert_pem: leaf.pem(),
            fingerprint: fingerprint(leaf.der()),
        })
    }

    /// Makes and signs the client identity of this replica.
    pub(crate) fn sign_replica(&self) -> Result<ReplicaLeaf, CaError> {
        let key = new_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Wrenn control plane");
        params.subject_alt_names = vec![SanType::URI(ia5(CONTROL_PLANE_URI)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, REPLICA_LIFE);
        let leaf = params
            .signed_by(&key, &self.issuer)
            .map_err(CaError::Sign)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| CaError::Mismatch)?;
        Ok(ReplicaLeaf {
            cert: leaf.der().clone(),
            key,
        })
    }
}

/// URI that names a host in its certificate.
#[must_use]
pub fn host_uri(host: HostId) -> String {
    format!("wrenn://host/{host}")
}

/// SHA-256 of a certificate's DER form.
pub(crate) fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

fn new_key() -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Sign)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn ia5(text: &str) -> Result<Ia5String, CaError> {
    Ia5String::try_from(text).map_err(CaError::Sign)
}

fn valid_for(params: &mut CertificateParams, life: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + life;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> String {
        let key = new_key().unwrap();
        CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap()
    }

    #[test]
    fn a_leaf_carries_our_names_only() {
        let ca = generate().unwrap();
        let ca = load(&ca.cert_pem, &ca.key_pem).unwrap();
        let host = HostId::new();
        let leaf = ca
            .sign_host(
                &HostRequest::from_pem(&request()).unwrap(),
                host,
                "10.0.0.1:9443",
            )
            .unwrap();
        let der = CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert!(!parsed.is_ca());
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        let names = format!("{:?}", names.value.general_names);
        assert!(names.contains(&host_uri(host)), "{names}");
        assert_eq!(leaf.fingerprint, fingerprint(&der));
    }

    #[test]
    fn a_foreign_key_or_certificate_is_refused() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert!(matches!(
            load(&one.cert_pem, &two.key_pem),
            Err(CaError::Mismatch)
        ));
        assert!(matches!(load("x", &two.key_pem), Err(CaError::Certificate)));
        assert!(matches!(load(&one.cert_pem, "x"), Err(CaError::Key(_))));
    }

    #[test]
    fn a_bad_request_is_refused() {
        for bad in [
            "",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        ] {
            assert!(
                matches!(HostRequest::from_pem(bad), Err(CaError::Request)),
                "{bad}"
            );
        }
    }
}
