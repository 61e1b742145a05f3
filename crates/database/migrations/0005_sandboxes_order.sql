-- The list of a team's sandboxes orders by both descending: with the index in that order, no sort is left to do.
DROP INDEX sandboxes_team;
CREATE INDEX sandboxes_team ON sandboxes (team_id, created_at DESC, id DESC);
