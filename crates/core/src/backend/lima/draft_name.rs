//! Names of machines that are not complete yet.

use crate::model::InstanceName;

/// Name prefix of drafts.
pub(crate) const DRAFT_PREFIX: &str = "ldm-new-";

/// Whether this is the name of a draft.
pub(crate) fn is_draft(name: &InstanceName) -> bool {
    name.as_str().starts_with(DRAFT_PREFIX)
}
