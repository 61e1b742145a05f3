-- Machines that run sandboxes, and how they prove who they are.

CREATE TABLE hosts (
    id                    uuid PRIMARY KEY,
    type                  text NOT NULL CHECK (type IN ('regular', 'byoc')),
    team_id               uuid REFERENCES teams (id),
    provider              text,
    availability_zone     text,
    arch                  text,
    cpu_cores             integer,
    memory_mb             bigint,
    disk_gb               bigint,
    address               text,
    -- "draining" is shown for an online host with the flag set; it is no status of its own.
    status                text NOT NULL DEFAULT 'pending'
                          CHECK (status IN ('pending', 'online', 'offline', 'unreachable')),
    draining              boolean NOT NULL DEFAULT false,
    last_heartbeat_at     timestamptz,
    boot_id               text,
    acked_seq             bigint NOT NULL DEFAULT 0,
    last_sync_at          timestamptz,
    -- SHA-256 of the host's certificate, and of the one before it.
    cert_fingerprint      bytea CHECK (octet_length(cert_fingerprint) = 32),
    prev_cert_fingerprint bytea CHECK (octet_length(prev_cert_fingerprint) = 32),
    cert_expires_at       timestamptz,
    agent_version         text,
    -- Free resources and the like, as the last report said.
    metadata              jsonb NOT NULL DEFAULT '{}',
    created_by            uuid REFERENCES users (id) ON DELETE SET NULL,
    deleted_at            timestamptz,
    updated_at            timestamptz NOT NULL DEFAULT now(),
    created_at            timestamptz NOT NULL DEFAULT now(),
    CHECK ((type = 'byoc') = (team_id IS NOT NULL))
);
CREATE INDEX hosts_status ON hosts (status);

CREATE TABLE host_tags (
    host_id    uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    tag        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host_id, tag)
);

-- Record of issued registration tokens; the tokens themselves live in Redis, as hashes.
CREATE TABLE host_registrations (
    id         uuid PRIMARY KEY,
    host_id    uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    created_by uuid REFERENCES users (id) ON DELETE SET NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX host_registrations_host ON host_registrations (host_id);

CREATE TABLE host_refresh_tokens (
    id           uuid PRIMARY KEY,
    host_id      uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    -- All tokens that descend from one registration.
    family       uuid NOT NULL,
    token_hash   bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    expires_at   timestamptz NOT NULL,
    successor_id uuid REFERENCES host_refresh_tokens (id) ON DELETE SET NULL,
    revoked_at   timestamptz,
    used_at      timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX host_refresh_tokens_family ON host_refresh_tokens (family);
CREATE INDEX host_refresh_tokens_host ON host_refresh_tokens (host_id);
