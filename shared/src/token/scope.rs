//! Which paths a token opens. A scope is parsed once; deciding is a pure function of the bytes that
//! are forwarded.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::net::upstream_path::{self, PathFault};

/// What a token may open. A scope that this build does not know cannot be parsed, and so opens
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    Full,
    /// The certificate pages of Zenzefi and what they call.
    CertificatesOnly,
}

/// Why a scope does not open a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// `400`: the path itself cannot be forwarded for this scope.
    Fault(PathFault),
    /// `403`: the path lies outside the scope.
    Outside,
}

/// Paths that `certificates_only` opens as they stand.
const CERTIFICATES_EXACT: [&str; 12] = [
    "/certificates/activeForTesting",
    "/certificates/activeForTesting/enhanced",
    "/certificates/checkSystemIntegrityLog",
    "/certificates/checkSystemIntegrityLogExistance",
    "/certificates/checkSystemIntegrityReport",
    "/certificates/filter",
    "/certificates/remove",
    "/certificates/restore",
    "/certificates/update/cancel",
    "/certificates/update/metrics",
    "/configurations/certificatesColumnOrder",
    "/configurations/certificatesColumnVisibility",
];

/// Paths that `certificates_only` opens with anything, but not nothing, below.
const CERTIFICATES_BELOW: [&str; 8] = [
    "/certificates/activeForTesting/activate/",
    "/certificates/activeForTesting/deactivate/",
    "/certificates/activeForTesting/options/",
    "/certificates/activeForTesting/usecases/",
    "/certificates/details/",
    "/certificates/export/",
    "/certificates/import/",
    "/certificates/update/",
];

impl Scope {
    /// Every scope, for documents and messages.
    pub const ALL: [Self; 2] = [Self::Full, Self::CertificatesOnly];

    /// The name in tables, keys and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::CertificatesOnly => "certificates_only",
        }
    }

    /// Decides whether this scope opens `path`: the path that would be forwarded, without its
    /// query. Matching is case-sensitive on the bytes as they are.
    pub fn opens(self, path: &str) -> Result<(), Closed> {
        upstream_path::check(path).map_err(Closed::Fault)?;
        match self {
            Self::Full => Ok(()),
            Self::CertificatesOnly => {
                upstream_path::check_restricted(path).map_err(Closed::Fault)?;
                let below = |prefix: &&str| path.strip_prefix(*prefix).is_some_and(|rest| !rest.is_empty());
                if CERTIFICATES_EXACT.contains(&path) || CERTIFICATES_BELOW.iter().any(below) {
                    Ok(())
                } else {
                    Err(Closed::Outside)
                }
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no scope of this build.
#[derive(Debug, thiserror::Error)]
#[error("unknown scope")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name).ok_or(UnknownScope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_only_opens_its_paths_and_no_others() {
        let scope = Scope::CertificatesOnly;
        for path in [
            "/certificates/filter",
            "/certificates/details/42",
            "/certificates/export/a/b",
            "/certificates/activeForTesting",
            "/certificates/activeForTesting/enhanced",
            "/certificates/activeForTesting/usecases/7",
            "/certificates/update/cancel",
            "/certificates/update/x%20y",
            "/configurations/certificatesColumnOrder",
        ] {
            assert_eq!(scope.opens(path), Ok(()), "{path}");
        }
        for path in [
            "/",
            "/users/currentUser",
            "/certificates",
            "/certificates/removeAll",
            "/certificates/Filter",
            "/certificates/%66ilter",
            "/certificates/details",
            "/certificates/activeForTesting/other",
            "/configurations/other",
        ] {
            assert_eq!(scope.opens(path), Err(Closed::Outside), "{path}");
        }
        for path in
            ["/certificates/details/", "//certificates/filter", "/certificates/details/a%2Fb", "/certificates/filter;x"]
        {
            assert_eq!(scope.opens(path), Err(Closed::Fault(PathFault::Ambiguous)), "{path}");
        }
        assert_eq!(scope.opens("/certificates/details/../../users"), Err(Closed::Fault(PathFault::DotSegment)));
    }

    #[test]
    fn full_opens_everything_that_can_be_forwarded() {
        for path in ["/", "/a//b", "/a%2Fb;c", "/users/currentUser"] {
            assert_eq!(Scope::Full.opens(path), Ok(()), "{path}");
        }
        assert_eq!(Scope::Full.opens("/a/%2e%2e/b"), Err(Closed::Fault(PathFault::DotSegment)));
    }

    #[test]
    fn an_unknown_scope_cannot_be_parsed() {
        assert!("everything".parse::<Scope>().is_err());
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse::<Scope>().expect("its own name"), scope);
        }
    }
}
