-- What sandboxes are made from, and which hosts hold a copy.

CREATE TABLE templates (
    id                uuid PRIMARY KEY,
    team_id           uuid NOT NULL REFERENCES teams (id),
    name              text NOT NULL,
    type              text NOT NULL CHECK (type IN ('base', 'snapshot')),
    status            text NOT NULL CHECK (status IN ('creating', 'ready', 'deleting', 'failed')),
    -- Set on snapshots only: they fix both.
    vcpus             integer,
    memory_mb         integer,
    disk_size_mb      integer NOT NULL,
    size_bytes        bigint NOT NULL DEFAULT 0,
    default_user      text NOT NULL DEFAULT 'root',
    default_env       jsonb NOT NULL DEFAULT '{}',
    metadata          jsonb NOT NULL DEFAULT '{}',
    parent_sandbox_id uuid,
    created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX templates_name ON templates (team_id, name) WHERE status <> 'deleting';

-- Platform template names are reserved: no team may carry one, and the platform takes none in use.
CREATE FUNCTION templates_reserved_name() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    platform CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    IF NEW.status = 'deleting' THEN
        RETURN NEW;
    END IF;
    -- One at a time, so that the two sides cannot pass each other.
    PERFORM pg_advisory_xact_lock(hashtext('templates_name:' || NEW.name));
    IF EXISTS (
        SELECT 1 FROM templates
        WHERE name = NEW.name AND status <> 'deleting'
          AND (team_id = platform) <> (NEW.team_id = platform)
    ) THEN
        RAISE EXCEPTION 'template name % is reserved', NEW.name
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'templates_reserved_name';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER templates_reserved_name
    BEFORE INSERT OR UPDATE OF name, team_id, status ON templates
    FOR EACH ROW EXECUTE FUNCTION templates_reserved_name();

CREATE TABLE template_copies (
    template_id   uuid NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    host_id       uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    state         text NOT NULL CHECK (state IN ('pulling', 'ready', 'deleting')),
    size_bytes    bigint NOT NULL DEFAULT 0,
    verified_hash text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (template_id, host_id)
);
CREATE INDEX template_copies_host ON template_copies (host_id);

-- The platform team exists always and has no members; its template is part of the installation.
INSERT INTO teams (id, name, slug, max_sandboxes, max_vcpus, max_memory_mb, max_disk_mb)
VALUES ('00000000-0000-0000-0000-000000000000', 'platform', '000000-000000', 0, 0, 0, 0);
INSERT INTO templates (id, team_id, name, type, status, disk_size_mb)
VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000',
        'minimal', 'base', 'ready', 1024);
