-- Sandboxes, the work under way on them, and repeated requests.

CREATE TABLE sandboxes (
    id                  uuid PRIMARY KEY,
    team_id             uuid NOT NULL REFERENCES teams (id),
    host_id             uuid REFERENCES hosts (id),
    template_id         uuid NOT NULL,
    -- As they were at creation: the template may be renamed or deleted later.
    template_name       text NOT NULL,
    template_team_id    uuid NOT NULL,
    status              text NOT NULL CHECK (status IN (
                            'pending', 'starting', 'running', 'pausing', 'paused', 'snapshotting',
                            'snapshotting_paused', 'hibernating', 'hibernated', 'resuming',
                            'stopping', 'stopped', 'missing', 'error')),
    status_changed_at   timestamptz NOT NULL DEFAULT now(),
    generation          bigint NOT NULL DEFAULT 1,
    reason              text,
    error_code          text,
    vcpus               integer NOT NULL CHECK (vcpus BETWEEN 1 AND 32),
    memory_mb           integer NOT NULL CHECK (memory_mb BETWEEN 128 AND 65536),
    disk_size_mb        integer NOT NULL,
    timeout_sec         integer NOT NULL DEFAULT 0,
    on_idle             text NOT NULL DEFAULT 'pause' CHECK (on_idle IN ('pause', 'destroy')),
    auto_resume         boolean NOT NULL DEFAULT true,
    public_ports        integer[] NOT NULL DEFAULT '{}',
    network             jsonb NOT NULL DEFAULT '{}',
    metadata            jsonb NOT NULL DEFAULT '{}',
    -- Sealed by the control plane; never readable here.
    envs                bytea,
    guest_ip            text,
    host_ip             text,
    snapshot_generation bigint,
    versions            jsonb,
    forked_from         uuid,
    created_by_type     text NOT NULL CHECK (created_by_type IN ('user', 'api_key', 'system')),
    created_by          uuid NOT NULL,
    started_at          timestamptz,
    last_active_at      timestamptz,
    last_updated        timestamptz NOT NULL DEFAULT now(),
    created_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sandboxes_team ON sandboxes (team_id, created_at DESC, id);
CREATE INDEX sandboxes_host ON sandboxes (host_id) WHERE status NOT IN ('stopped', 'error');
CREATE INDEX sandboxes_metadata ON sandboxes USING gin (metadata);

CREATE TABLE sandbox_ops (
    id          uuid PRIMARY KEY,
    sandbox_id  uuid NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    kind        text NOT NULL
                CHECK (kind IN ('create', 'pause', 'resume', 'snapshot', 'fork', 'destroy')),
    generation  bigint NOT NULL,
    state       text NOT NULL
                CHECK (state IN ('queued', 'running', 'done', 'failed', 'superseded')),
    -- The step that runs next.
    step        text NOT NULL,
    params      jsonb NOT NULL DEFAULT '{}',
    actor       jsonb NOT NULL DEFAULT '{}',
    request_id  text NOT NULL DEFAULT '',
    lease_owner uuid,
    -- With an owner: until when it is the owner's. Without: not to be claimed before.
    lease_until timestamptz,
    attempts    integer NOT NULL DEFAULT 0,
    deadline_at timestamptz,
    error_code  text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
-- One live operation a sandbox.
CREATE UNIQUE INDEX sandbox_ops_live ON sandbox_ops (sandbox_id)
    WHERE state IN ('queued', 'running');
CREATE INDEX sandbox_ops_lease ON sandbox_ops (lease_until) WHERE state IN ('queued', 'running');
CREATE INDEX sandbox_ops_sandbox ON sandbox_ops (sandbox_id, created_at DESC);

CREATE TABLE idempotency_keys (
    team_id     uuid NOT NULL REFERENCES teams (id),
    route       text NOT NULL,
    key         text NOT NULL,
    body_hash   bytea NOT NULL,
    resource_id uuid,
    response    jsonb,
    expires_at  timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, route, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
