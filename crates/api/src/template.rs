//! Templates, and the snapshots that are made of sandboxes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::{SandboxId, TemplateId};

use crate::{Time, grammar, grammar::Invalid};

closed_set! {
    /// What a template is.
    pub enum TemplateType {
        /// A disk; its sandboxes boot.
        Base = "base",
        /// A sandbox as it was, with its memory; its sandboxes go on from there.
        Snapshot = "snapshot",
    }
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Template {
    /// Identity.
    #[schema(value_type = String, pattern = "^tpl-[0-9a-z]{25}$")]
    pub id: TemplateId,
    /// What people call it.
    pub name: String,
    /// What it is.
    pub r#type: TemplateType,
    /// Virtual CPUs of its sandboxes; of a snapshot only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub vcpus: Option<u32>,
    /// Memory of its sandboxes in MiB; of a snapshot only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub memory_mb: Option<u32>,
    /// Bytes on a host.
    pub size_bytes: u64,
    /// When it was made.
    pub created_at: Time,
    /// Whether it is everybody's.
    pub platform: bool,
    /// The caller's sandboxes that are made from it and have not stopped.
    pub used_by: u64,
    /// Its pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Request for a template of the platform, of one of its own sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatePlatformSnapshot {
    /// Default: `template-` and 8 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the sandbox is paused afterwards; default false: it ends as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_source: Option<bool>,
}

/// Request for a snapshot of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateSnapshot {
    /// The sandbox; it runs or is paused.
    #[schema(value_type = String, pattern = "^sb-[0-9a-z]{25}$")]
    pub sandbox_id: SandboxId,
    /// Default: `template-` and 8 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the sandbox is paused afterwards; default false: it ends as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_source: Option<bool>,
}

impl CreateSnapshot {
    /// Checks every field by its grammar.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        match &self.name {
            Some(name) => grammar::template_name("name", name),
            None => Ok(()),
        }
    }
}
