//! Who calls: by a certificate whose signature was checked in the handshake, by a token, or nobody.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use rustls::pki_types::CertificateDer;

/// What all callers without a name are called (behaviour.md 36.3).
const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Somebody whose name is known, as a TokenReview or a certificate says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// CN and every O of a client's certificate (36.1). `None` where there is no certificate, or it names nobody.
    pub(crate) fn of_certificate(certificates: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let certificate = certificates?.first()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
        let groups = groups.map(ToOwned::to_owned).collect();
        (!name.is_empty()).then_some(Self { name, groups, ..Self::default() })
    }

    /// Somebody without a name.
    pub(crate) fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }
}

/// The token of `Authorization: Bearer …`; the scheme's case does not count. An empty one is none.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
