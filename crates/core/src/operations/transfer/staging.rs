//! Staging of a copy into a guest, journaled.

use super::guest::{GuestTarget, commit};
use super::types::Transferred;
use crate::error::Result;
use crate::operations::Operations;
use crate::operations::journal::{Detail, Journal, JournalStep};
use crate::operations::operation::Operation;
use crate::operations::resolve::ResolvedEnv;

impl Operations {
    /// Starts the journal of a copy into a guest.
    pub(super) fn stage_in_guest(
        &self,
        operation: &mut Operation,
        resolved: &ResolvedEnv,
        target: &GuestTarget,
    ) -> Result<(Journal, String)> {
        let path = &target.path;
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let staging = format!("{parent}/{}", staging_name(operation));
        operation.detail = Some(Detail::ToGuest {
            staging: staging.clone(),
            target: path.clone(),
            created: target.missing.clone(),
        });
        let journal = self.journal(
            operation,
            resolved.backend.as_ref(),
            &resolved.instance.name,
            false,
        )?;
        Ok((journal, staging))
    }

    /// Moves a received copy to its target.
    pub(super) async fn commit_to_guest(
        &self,
        operation: &Operation,
        resolved: &ResolvedEnv,
        staging: &str,
        mut journal: Journal,
        transferred: Transferred,
    ) -> Result<Transferred> {
        journal.enter(JournalStep::Committing)?;
        self.step(operation, "moving files into place");
        let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
        commit(backend, instance, staging, &transferred.target).await?;
        journal.close();
        Ok(transferred)
    }
}

pub(super) fn staging_name(operation: &Operation) -> String {
    format!(".ldm-{}", operation.id.short())
}
