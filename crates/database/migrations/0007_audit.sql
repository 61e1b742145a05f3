-- Who did what: rows that are written once, completed once, and never removed.

CREATE TABLE audit_logs (
    id            uuid PRIMARY KEY,
    -- The platform's team where an event concerns no other.
    team_id       uuid NOT NULL,
    actor_type    text NOT NULL CHECK (actor_type IN ('user', 'api_key', 'host', 'system')),
    actor_id      text,
    actor_name    text,
    resource_type text NOT NULL,
    resource_id   text,
    action        text NOT NULL,
    scope         text NOT NULL CHECK (scope IN ('team', 'admin')),
    status        text NOT NULL CHECK (status IN ('success', 'info', 'warning', 'error')),
    metadata      jsonb NOT NULL DEFAULT '{}',
    request_id    text NOT NULL DEFAULT '',
    completed_at  timestamptz,
    -- Whole milliseconds, as cursors carry it.
    created_at    timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp())
);
CREATE INDEX audit_logs_team ON audit_logs (team_id, created_at DESC, id DESC);
-- What members read.
CREATE INDEX audit_logs_team_scope ON audit_logs (team_id, created_at DESC, id DESC)
    WHERE scope = 'team';
-- What platform administrators read.
CREATE INDEX audit_logs_all ON audit_logs (created_at DESC, id DESC);
CREATE INDEX audit_logs_resource ON audit_logs (resource_id, created_at DESC);
CREATE INDEX audit_logs_open ON audit_logs (created_at) WHERE completed_at IS NULL;

CREATE FUNCTION audit_logs_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    platform CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    changing CONSTANT text[] := '{status,metadata,completed_at,actor_id,actor_name,resource_id,team_id}';
BEGIN
    IF TG_OP IN ('DELETE', 'TRUNCATE') THEN
        RAISE EXCEPTION 'audit rows are never removed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Anonymisation: the person's name, and nothing else.
    IF NEW.actor_name = 'deleted user'
       AND to_jsonb(NEW) - 'actor_name' = to_jsonb(OLD) - 'actor_name' THEN
        RETURN NEW;
    END IF;
    -- Completion: once; what was known at the start stays.
    IF OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL
       AND to_jsonb(NEW) - changing = to_jsonb(OLD) - changing
       AND (OLD.team_id = platform OR NEW.team_id = OLD.team_id)
       AND (OLD.actor_id IS NULL
            OR (NEW.actor_id = OLD.actor_id AND NEW.actor_name IS NOT DISTINCT FROM OLD.actor_name))
       AND (OLD.resource_id IS NULL OR NEW.resource_id = OLD.resource_id) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit rows are completed once and not changed'
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_logs_keep BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_logs_keep();
CREATE TRIGGER audit_logs_keep_all BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_logs_keep();
