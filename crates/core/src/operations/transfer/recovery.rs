//! Recovery of an interrupted copy.

use super::{guest, host};
use crate::backend::Backend;
use crate::error::Result;
use crate::operations::instances::find;
use crate::operations::journal::{Detail, JournalStep, OperationRecord};
use crate::operations::recovered::Recovered;

/// Deletes an incomplete copy, and moves a complete one to its target.
pub(in crate::operations) async fn recover(
    backend: &dyn Backend,
    record: &OperationRecord,
    step: JournalStep,
) -> Result<Recovered> {
    let committing = step != JournalStep::Preparing;
    let name = &record.instance;
    match &record.detail {
        Some(Detail::ToGuest {
            staging,
            target,
            created,
        }) => {
            if find(backend, name).await?.is_none() {
                return Ok(Recovered::Dropped("the env is gone"));
            }
            if committing {
                guest::commit(backend, name, staging, target).await?;
            } else {
                guest::discard(backend, name, staging, created.as_deref()).await?;
            }
        }
        Some(Detail::ToHost {
            staging,
            target,
            created,
        }) => {
            if committing && staging.exists() {
                host::commit(staging, target)?;
            } else if !committing {
                host::discard(staging, created.as_deref())?;
            }
        }
        Some(Detail::Renamed { .. } | Detail::ForwardedSocket { .. }) | None => {
            return Ok(Recovered::NOTHING_CHANGED);
        }
    }
    Ok(if committing {
        Recovered::Completed
    } else {
        Recovered::RolledBack
    })
}
