//! A team by its id, slug or name.

use wrenn_api::team::Team;
use wrenn_ids::TeamId;

use crate::error::{CliError, Exit};

/// The one of `teams` that `wanted` means.
pub(crate) fn choose(teams: &[Team], wanted: &str) -> Result<TeamId, CliError> {
    // A slug is one team's alone; a name may look like the slug of another.
    if let Some(team) = teams.iter().find(|team| team.slug == wanted) {
        return Ok(team.id);
    }
    let mut named = teams.iter().filter(|team| team.name == wanted);
    match (named.next(), named.next()) {
        (Some(team), None) => Ok(team.id),
        (None, _) => Err(CliError::new(
            Exit::NotFound,
            "not_found",
            format_args!("you are in no team `{wanted}`"),
        )
        .hint("see", "wrenn team ls")),
        _ => Err(CliError::new(
            Exit::NotFound,
            "ambiguous",
            format_args!("you are in several teams `{wanted}`; say which by its slug"),
        )
        .hint("see", "wrenn team ls")),
    }
}
