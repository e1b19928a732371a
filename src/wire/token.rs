//! Exchanging an API token for an access token: `POST /oauth2/token`.

use serde::{Deserialize, Serialize};

use crate::domain::{Problem, Secret};

/// The form. Existing clients also name themselves by HTTP Basic; nothing hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// `api_token`.
    pub grant_type: String,
    pub api_token: Option<Secret>,
}

impl TokenRequest {
    pub const GRANT: &'static str = "api_token";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReply {
    pub access_token: Secret,
    /// Seconds.
    pub expires_in: u64,
    pub token_type: String,
}

impl TokenReply {
    pub fn bearer(access_token: Secret, expires_in: u64) -> Self {
        Self { access_token, expires_in, token_type: "bearer".to_owned() }
    }
}

/// A refusal in the words of OAuth (RFC 6749, 5.2), which its clients look for, beside ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenProblem {
    /// `invalid_grant`, `unsupported_grant_type`, `invalid_request`.
    pub error: String,
    pub error_description: String,
    #[serde(flatten)]
    pub problem: Problem,
}

impl TokenProblem {
    pub fn new(error: &str, problem: Problem) -> Self {
        Self { error: error.to_owned(), error_description: problem.to_string(), problem }
    }
}
