-- People, teams and their keys.

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL,
    password_hash text,
    name          text NOT NULL,
    is_admin      boolean NOT NULL DEFAULT false,
    status        text NOT NULL CHECK (status IN ('inactive', 'active', 'disabled', 'deleted')),
    token_version integer NOT NULL DEFAULT 0,
    deleted_at    timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE status <> 'deleted';
CREATE INDEX users_email_prefix ON users (lower(email) text_pattern_ops);

CREATE TABLE teams (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    slug          text NOT NULL UNIQUE,
    is_byoc       boolean NOT NULL DEFAULT false,
    -- Quotas; 0 = unlimited.
    max_sandboxes integer NOT NULL DEFAULT 50 CHECK (max_sandboxes >= 0),
    max_vcpus     integer NOT NULL DEFAULT 64 CHECK (max_vcpus >= 0),
    max_memory_mb integer NOT NULL DEFAULT 131072 CHECK (max_memory_mb >= 0),
    max_disk_mb   integer NOT NULL DEFAULT 512000 CHECK (max_disk_mb >= 0),
    deleted_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- What every query about teams reads: a deleted team is invisible, only its slug stays taken.
CREATE VIEW live_teams AS SELECT * FROM teams WHERE deleted_at IS NULL;

CREATE TABLE users_teams (
    team_id    uuid NOT NULL REFERENCES teams (id),
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, user_id)
);
-- A live team has exactly one owner; this holds the "at most".
CREATE UNIQUE INDEX users_teams_owner ON users_teams (team_id) WHERE role = 'owner';
CREATE UNIQUE INDEX users_teams_default ON users_teams (user_id) WHERE is_default;

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY,
    team_id      uuid NOT NULL REFERENCES teams (id),
    name         text NOT NULL,
    -- SHA-256 of the key; the key itself is never stored.
    key_hash     bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    key_prefix   text NOT NULL,
    created_by   uuid REFERENCES users (id) ON DELETE SET NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_team ON api_keys (team_id, created_at DESC);
