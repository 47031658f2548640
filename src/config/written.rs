//! The settings as the file and the variables have them, without their values.

use serde_json::Value;

use super::origins::{Origin, Origins, leaves};

/// A setting as it was written, or a section without settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// As in `proxy.upstreams.0.host`.
    pub path: String,
    /// The file, or a variable.
    pub origin: Origin,
    /// What its value is.
    pub form: Form,
}

/// What a value is. The value itself may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `null`, or nothing.
    Null,
    /// A single value.
    Scalar,
    /// A list of single values.
    List,
    /// A section without settings.
    Section,
}

/// All settings of a document to which the variables were applied, in their order.
pub(super) fn of(document: &Value, origins: &Origins) -> Vec<Written> {
    let written = leaves(document).into_iter().map(|(path, value)| {
        let form = match value {
            Value::Null => Form::Null,
            Value::Array(_) => Form::List,
            Value::Object(_) => Form::Section,
            Value::String(_) | Value::Bool(_) | Value::Number(_) => Form::Scalar,
        };
        let origin = match origins.of(&path) {
            // A setting of the file without a value.
            Origin::Default => Origin::File,
            origin => origin,
        };
        Written { path, origin, form }
    });
    written.collect()
}
