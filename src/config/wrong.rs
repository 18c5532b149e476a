//! Why a value is refused, before it is known whose value it is.

/// Why a value is not one of those that its flag takes; the flag's name is added by
/// [`Wrong::given_as`], since the value may as well come from the environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// What is allowed: completes "allowed: ...".
    pub allowed: String,
    /// What to do instead, if that is known.
    pub cure: Option<String>,
}

impl Wrong {
    /// A value outside of what is allowed.
    pub fn new(allowed: impl Into<String>) -> Self {
        Self { allowed: allowed.into(), cure: None }
    }

    /// The same, with advice.
    #[must_use]
    pub fn or(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..self }
    }
}
