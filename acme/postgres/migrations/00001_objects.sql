-- +goose Up

-- The objects of RFC 8555. What is written here is the last line of defence:
-- every statement of this package has the old state in its WHERE clause, and the
-- constraints and triggers refuse whatever such a clause, or a person with psql,
-- forgets.
--
-- The three tables that each issuance writes are checked by functions, the others by
-- CHECK constraints. Postgres reads the stored form of a constraint, and of a
-- trigger's WHEN clause, anew in every statement that may need it (5 µs for each
-- kilobyte: half of what an UPDATE took), and compiles a function once in a session.
--
-- There are deliberately few foreign keys. Checking one takes a share lock on
-- the row that it points to: with one account for a whole cluster and one issuer
-- for all certificates, every insert would queue up to write that same row. What
-- they would check is a condition of the INSERT instead.
--
-- What has a state (unfinished, pending, valid) is found by partial indexes of an
-- expression that is null in any other state, and which no statement has that looks
-- for a row by its ID. With the state as a plain condition of the index, Postgres would
-- take such an index for looks by ID too, where they also ask for the state, as long as
-- it thinks it small, and read all of it.
--
-- Every primary key is a version 7 UUID, so rows are added at the right-hand end
-- of each index and an insert costs the same in a table of ten million.

CREATE TABLE accounts (
    id                  uuid        PRIMARY KEY,
    status              text        NOT NULL CHECK (status IN ('valid', 'deactivated', 'revoked')),
    key_thumbprint      bytea       NOT NULL UNIQUE CHECK (octet_length(key_thumbprint) = 32),
    key                 json        NOT NULL,
    -- Of the last ten keys that were changed, the last first: records of dns-persist-01
    -- outlive them.
    former_thumbprints  bytea[]     NOT NULL DEFAULT '{}',
    contact             text[]      NOT NULL,
    terms_agreed        boolean     NOT NULL,
    external_account_id text,
    created_at          timestamptz NOT NULL
) WITH (fillfactor = 90);

-- +goose StatementBegin
CREATE FUNCTION check_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> NEW.status AND OLD.status <> 'valid' THEN
        RAISE check_violation USING MESSAGE = format('account %s: %s to %s is not a transition', OLD.id, OLD.status, NEW.status);
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER checked BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION check_account();

-- An issuer's chains as a JSON array of arrays of DER in base64, the default first.
CREATE TABLE issuers (
    id     bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    chains json  NOT NULL
);

CREATE TABLE certificates (
    id                uuid        PRIMARY KEY, -- that of its order: one order, one certificate
    account_id        uuid        NOT NULL,
    serial            bytea       NOT NULL UNIQUE,
    issuer_id         bytea       NOT NULL,
    der               bytea       NOT NULL,
    not_before        timestamptz NOT NULL,
    not_after         timestamptz NOT NULL,
    revoked_at        timestamptz,
    revocation_reason smallint, -- RFC 5280 §5.3.1
    issued_at         timestamptz NOT NULL,
    name_set          bytea -- exactly these names
) WITH (fillfactor = 95);

-- Signatures and keys do not compress: do not try at each insert.
ALTER TABLE certificates ALTER COLUMN der SET STORAGE EXTERNAL;

-- What CRLs list.
CREATE INDEX certificates_revoked ON certificates (issuer_id, serial) WHERE revoked_at IS NOT NULL;

-- What is garbage: lifetimes differ by profile, so that the oldest certificate is not
-- the first to end.
CREATE INDEX certificates_expiry ON certificates (not_after);

-- The newest certificate of an account for exactly some names: what an order renews.
CREATE INDEX certificates_names ON certificates (account_id, name_set, id) WHERE name_set IS NOT NULL;

-- A certificate is a fact. Only its revocation is added, once.
-- +goose StatementBegin
CREATE FUNCTION check_certificate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.revoked_at IS NOT NULL
        OR (OLD.id, OLD.account_id, OLD.serial, OLD.issuer_id, OLD.der, OLD.name_set)
            IS DISTINCT FROM (NEW.id, NEW.account_id, NEW.serial, NEW.issuer_id, NEW.der, NEW.name_set))
    THEN
        RAISE check_violation USING MESSAGE = format('certificate %s: what was recorded once does not change', OLD.id);
    END IF;
    IF octet_length(NEW.serial) <> 16 OR octet_length(NEW.issuer_id) <> 16 OR octet_length(NEW.name_set) <> 16 THEN
        RAISE check_violation USING MESSAGE = format('certificate %s: serial, issuer_id and name_set have 16 octets', NEW.id);
    ELSIF NEW.not_before > NEW.not_after THEN
        RAISE check_violation USING MESSAGE = format('certificate %s: it ends before it begins', NEW.id);
    ELSIF (NEW.revoked_at IS NULL) <> (NEW.revocation_reason IS NULL)
        OR NEW.revocation_reason NOT IN (0, 1, 2, 3, 4, 5, 6, 8, 9, 10)
    THEN
        RAISE check_violation USING MESSAGE = format('certificate %s: a revocation has a time and a reason', NEW.id);
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON certificates FOR EACH ROW EXECUTE FUNCTION check_certificate();

CREATE TABLE orders (
    id                uuid        PRIMARY KEY,
    account_id        uuid        NOT NULL,
    status            text        NOT NULL, -- pending, ready, valid, invalid
    identifiers       json        NOT NULL,
    authorization_ids uuid[]      NOT NULL,
    profile           text        NOT NULL,
    replaces          text,
    not_before        timestamptz,
    not_after         timestamptz,
    error             json,
    expires_at        timestamptz NOT NULL,
    created_at        timestamptz NOT NULL,
    trusted           boolean     NOT NULL DEFAULT false -- by the server that made it: nothing was proved
) WITH (fillfactor = 80);

-- Both indexes have only what is unfinished, however many orders there were.
CREATE INDEX orders_unfinished_account ON orders ((CASE WHEN status IN ('pending', 'ready') THEN account_id END), id)
    WHERE CASE WHEN status IN ('pending', 'ready') THEN account_id END IS NOT NULL;
CREATE INDEX orders_unfinished_expiry ON orders ((CASE WHEN status IN ('pending', 'ready') THEN expires_at END))
    WHERE CASE WHEN status IN ('pending', 'ready') THEN expires_at END IS NOT NULL;
-- A certificate is replaced by one order only, unless that failed (RFC 9773 §5).
CREATE UNIQUE INDEX orders_replaces ON orders (replaces) WHERE replaces IS NOT NULL AND status <> 'invalid';

-- +goose StatementBegin
CREATE FUNCTION check_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.status <> NEW.status AND OLD.status || ' to ' || NEW.status NOT IN
        ('pending to ready', 'pending to invalid', 'ready to valid', 'ready to invalid')
    THEN
        RAISE check_violation USING MESSAGE = format('order %s: %s to %s is not a transition', OLD.id, OLD.status, NEW.status);
    END IF;
    IF NEW.status NOT IN ('pending', 'ready', 'valid', 'invalid') THEN
        RAISE check_violation USING MESSAGE = format('order %s: %s is not a state', NEW.id, NEW.status);
    ELSIF cardinality(NEW.authorization_ids) = 0 THEN
        RAISE check_violation USING MESSAGE = format('order %s: it needs no authorization', NEW.id);
    ELSIF NEW.error IS NOT NULL AND NEW.status <> 'invalid' THEN
        RAISE check_violation USING MESSAGE = format('order %s: an order that is %s has no error', NEW.id, NEW.status);
    END IF;
    IF NEW.status = 'valid' THEN -- by itself, as a condition with a query in it costs a query each time
        IF NOT EXISTS (SELECT FROM certificates WHERE id = NEW.id) THEN
            RAISE check_violation USING MESSAGE = format('order %s: a valid order has a certificate', NEW.id);
        END IF;
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION check_order();

-- The other half of a foreign key, which would look for the certificate by a lock on it.
-- +goose StatementBegin
CREATE FUNCTION check_deleted_certificate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM orders WHERE id = OLD.id) THEN
        RAISE foreign_key_violation USING MESSAGE = format('certificate %s: its order is there still', OLD.id);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER ordered AFTER DELETE ON certificates FOR EACH ROW EXECUTE FUNCTION check_deleted_certificate();

-- Challenges are not rows: an authorization is attempted by one challenge type.
-- An attempted one that is still pending is a job of the validation queue, which
-- accounts take turns in, and due_at is all that those of an account are ordered by:
-- a lease moves it to the lease's end, a retry to the next attempt, and a result
-- clears it.
CREATE TABLE authorizations (
    id               uuid        PRIMARY KEY,
    account_id       uuid        NOT NULL,
    order_id         uuid, -- the order it was made for; null for a pre-authorization
    identifier_type  text        NOT NULL, -- dns, ip
    identifier_value text        NOT NULL,
    wildcard         boolean     NOT NULL,
    status           text        NOT NULL, -- pending, valid, invalid, deactivated, expired, revoked
    token            text        NOT NULL,
    challenge_types  text[]      NOT NULL, -- offered, in our order
    challenge_type   text,                 -- attempted
    challenge_error  json,
    validated_at     timestamptz,
    due_at           timestamptz,
    lease            uuid,
    attempts         integer     NOT NULL DEFAULT 0,
    expires_at       timestamptz NOT NULL,
    created_at       timestamptz NOT NULL
) WITH (fillfactor = 80);

CREATE INDEX authorizations_due ON authorizations (account_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX authorizations_pending_expiry ON authorizations ((CASE WHEN status = 'pending' THEN expires_at END))
    WHERE CASE WHEN status = 'pending' THEN expires_at END IS NOT NULL;

-- Orders that use authorizations again, and revocation by who holds them all.
CREATE INDEX authorizations_valid ON authorizations ((CASE WHEN status = 'valid' THEN account_id END), identifier_value, expires_at)
    WHERE CASE WHEN status = 'valid' THEN account_id END IS NOT NULL;

-- +goose StatementBegin
CREATE FUNCTION check_authorization() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.status <> NEW.status AND OLD.status || ' to ' || NEW.status NOT IN
        ('pending to valid', 'pending to invalid', 'pending to deactivated', 'pending to expired',
         'valid to deactivated', 'valid to expired', 'valid to revoked')
    THEN
        RAISE check_violation USING MESSAGE = format('authorization %s: %s to %s is not a transition', OLD.id, OLD.status, NEW.status);
    END IF;
    IF NEW.status NOT IN ('pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked') THEN
        RAISE check_violation USING MESSAGE = format('authorization %s: %s is not a state', NEW.id, NEW.status);
    ELSIF NEW.identifier_type NOT IN ('dns', 'ip') THEN
        RAISE check_violation USING MESSAGE = format('authorization %s: %s is not a type of identifiers', NEW.id, NEW.identifier_type);
    ELSIF NEW.challenge_type <> ALL (NEW.challenge_types) THEN
        RAISE check_violation USING MESSAGE = format('authorization %s: %s was not offered', NEW.id, NEW.challenge_type);
    ELSIF (NEW.due_at IS NOT NULL) <> (NEW.status = 'pending' AND NEW.challenge_type IS NOT NULL) THEN
        RAISE check_violation USING MESSAGE = format('authorization %s: what is attempted and pending is due, and nothing else', NEW.id);
    ELSIF NEW.lease IS NOT NULL AND NEW.due_at IS NULL THEN
        RAISE check_violation USING MESSAGE = format('authorization %s: what is leased is due', NEW.id);
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON authorizations FOR EACH ROW EXECUTE FUNCTION check_authorization();

-- The accounts that have a validation which is due, those after one first: at most a
-- number of them. Each is one step in the index, however much of it is due.
-- +goose StatementBegin
CREATE FUNCTION queued_accounts(after uuid, most integer) RETURNS SETOF uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
    last    uuid := after;
    next    uuid;
    wrapped boolean := false;
BEGIN
    FOR i IN 1 .. most LOOP
        SELECT account_id INTO next FROM authorizations
        WHERE due_at IS NOT NULL AND due_at <= now() AND account_id > last
        ORDER BY account_id LIMIT 1;
        IF next IS NULL AND NOT wrapped THEN
            wrapped := true;
            SELECT account_id INTO next FROM authorizations
            WHERE due_at IS NOT NULL AND due_at <= now() ORDER BY account_id LIMIT 1;
        END IF;
        EXIT WHEN next IS NULL OR wrapped AND next > after;
        RETURN NEXT next;
        last := next;
    END LOOP;
END $$;
-- +goose StatementEnd

-- The last CRL of each issuer, for when its key is gone.
CREATE TABLE crls (
    issuer_id   bytea       PRIMARY KEY CHECK (octet_length(issuer_id) = 16),
    der         bytea       NOT NULL,
    this_update timestamptz NOT NULL,
    next_update timestamptz NOT NULL
);

-- Neither table of the nonces survives a crash or a fail-over of the database,
-- and that both go together is the point: the keys are new after it, so a nonce
-- whose redemption was forgotten is refused. Writing them waits for no disk.
CREATE UNLOGGED TABLE nonce_keys (
    id         bigint      PRIMARY KEY,
    secret     bytea       NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Ordered by expiry, so that the sweep deletes from the left what inserts add on
-- the right.
CREATE UNLOGGED TABLE nonces (
    expires_at timestamptz NOT NULL,
    id         uuid        NOT NULL,
    PRIMARY KEY (expires_at, id)
);

-- Ends the transaction of a proof that is refused with an error that says why.
-- +goose StatementBegin
CREATE FUNCTION refuse_proof(sealed_by bigint, account uuid, thumbprint bytea) RETURNS timestamptz
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM nonce_keys WHERE id = sealed_by) THEN
        RAISE EXCEPTION USING ERRCODE = 'ACME2', MESSAGE = 'the key of the nonce is gone';
    ELSIF NOT EXISTS (SELECT FROM accounts WHERE id = account AND key_thumbprint = thumbprint AND status = 'valid') THEN
        RAISE EXCEPTION USING ERRCODE = 'ACME4', MESSAGE = 'the account is not valid, or has another key';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'ACME3', MESSAGE = 'the nonce has expired';
END $$;
-- +goose StatementEnd

-- What was spent of the limits: one row for each limit and subject, by the generic
-- cell rate algorithm. A row whose time has passed says the same as none, and is
-- garbage. An index on the time itself would make each spend write every index: due
-- is the full hour after it, so that nearly all updates stay on their page.
CREATE TABLE limits (
    name     text        NOT NULL,
    subject  text        NOT NULL,
    tat      timestamptz NOT NULL, -- theoretical arrival time: when all is free again, or forgotten
    failures integer     NOT NULL DEFAULT 0, -- in a row, where that is what is counted
    due      timestamptz NOT NULL, -- no sweep looks at it before
    PRIMARY KEY (name, subject)
) WITH (fillfactor = 50);

CREATE INDEX limits_due ON limits (due);

-- The row of limits that has the renewals of an account and the names of a certificate.
CREATE FUNCTION renewals(account uuid, names bytea) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT account::text || '/' || encode(names, 'hex') $$;

-- The time in which one renewal becomes free again, of 20 in half of the life of a
-- certificate, where an order renews one; null where it does not. lifetime is that of
-- the certificate which the order replaces; where it is null, the newest one of the
-- account for exactly its names must have had half of its life. Where the 20 are used
-- up, it is no renewal either.
-- +goose StatementBegin
CREATE FUNCTION renews(account uuid, names bytea, lifetime interval) RETURNS interval
LANGUAGE plpgsql STABLE AS $$
DECLARE
    life interval := lifetime;
    unit interval;
BEGIN
    IF life IS NULL THEN
        SELECT c.not_after - c.not_before INTO life
        FROM (SELECT not_before, not_after FROM certificates
            WHERE account_id = account AND name_set = names ORDER BY id DESC LIMIT 1) c
        WHERE now() >= c.not_before + (c.not_after - c.not_before) / 2;
    END IF;
    IF life IS NOT NULL THEN
        unit := greatest(life / 2, interval '30 minutes') / 20; -- acme.RenewalLimit
        IF EXISTS (SELECT FROM limits k
            WHERE k.name = 'renewals' AND k.subject = renewals(account, names) AND k.tat > clock_timestamp() + 19 * unit)
        THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN unit;
END $$;
-- +goose StatementEnd

-- Takes one renewal, and reports whether there was one left. Its row is locked before
-- those of all limits.
-- +goose StatementBegin
CREATE FUNCTION renew(account uuid, names bytea, unit interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    kept timestamptz := clock_timestamp() + unit;
BEGIN
    INSERT INTO limits AS k (name, subject, tat, due)
    VALUES ('renewals', renewals(account, names), kept, date_trunc('hour', kept) + interval '1 hour')
    ON CONFLICT (name, subject) DO UPDATE
    SET tat = greatest(k.tat, clock_timestamp()) + unit,
        due = date_trunc('hour', greatest(k.tat, clock_timestamp()) + unit) + interval '1 hour'
    WHERE k.tat <= clock_timestamp() + 19 * unit;
    RETURN FOUND;
END $$;
-- +goose StatementEnd

-- The time until a time, by the clock; below zero where it has passed, and zero
-- where there is none.
CREATE FUNCTION microseconds_until(t timestamptz) RETURNS bigint
LANGUAGE sql VOLATILE AS $$ SELECT coalesce(ceil(extract(epoch FROM t - clock_timestamp()) * 1000000)::bigint, 0) $$;

-- Spends one unit of each limit, or of none; where the order renews a certificate for
-- name_set (see renews), one of the renewals instead of those that are exempt. refused
-- is the place of the one that was refused, or null, and wait the time until it would
-- be taken. The statements
-- of the transaction that follow are told by the settings acme.refused and
-- acme.spent: to raise an error instead would let every client that is over a limit
-- write to the database's log. All times are in microseconds; an emission of 0 is a limit that
-- counts. The caller has sorted the limits.
-- +goose StatementBegin
CREATE FUNCTION spend(wanted boolean, account uuid, names text[], subjects text[], emissions bigint[], most bigint[],
    checks boolean[], dry boolean[], exempt boolean[], name_set bytea, lifetime interval,
    OUT refused integer, OUT wait bigint, OUT remaining bigint[], OUT reset bigint[], OUT exceeded boolean[])
LANGUAGE plpgsql AS $$
DECLARE
    seen    bigint[]; -- of each limit: the time until all is free again, or how many there are
    used    bigint;
    taken   boolean;
    kept    timestamptz;
    step    interval; -- in which one unit becomes free again
    turn    bigint; -- the key of an advisory lock
    held    boolean;
    told    text;
    unit    interval := CASE WHEN wanted AND name_set IS NOT NULL THEN renews(account, name_set, lifetime) END;
    renewal boolean := unit IS NOT NULL;
BEGIN
    IF NOT wanted THEN
        RETURN;
    END IF;

    -- A look without a lock. A time only ever moves forward, so whoever is refused
    -- by it is refused for good: of a crowd that is over its limit nobody waits.
    FOR i IN 1 .. cardinality(names) LOOP
        CONTINUE WHEN renewal AND exempt[i];
        IF emissions[i] > 0 THEN
            SELECT k.tat INTO kept FROM limits k WHERE k.name = names[i] AND k.subject = subjects[i];
            seen[i] := microseconds_until(kept);
            used := seen[i] - emissions[i] * (most[i] - 1);
        ELSIF checks[i] THEN
            SELECT k.failures INTO used FROM limits k WHERE k.name = names[i] AND k.subject = subjects[i] AND k.tat > now();
            seen[i] := coalesce(used, 0);
            used := CASE WHEN seen[i] < most[i] THEN 0 ELSE 1 END;
        ELSE
            CONTINUE;
        END IF;
        IF used > 0 AND NOT dry[i] AND used > coalesce(wait, 0) THEN
            refused := i;
            wait := used;
        END IF;
    END LOOP;
    IF refused IS NOT NULL THEN
        wait := CASE WHEN emissions[refused] > 0 THEN wait ELSE 0 END; -- no time can tell
        told := set_config('acme.refused', 'yes', true);
        RETURN;
    END IF;

    IF renewal THEN -- unless others have taken the last one meanwhile
        renewal := renew(account, name_set, unit);
    END IF;
    FOR i IN 1 .. cardinality(names) LOOP
        taken := true;
        reset[i] := 0;
        IF renewal AND exempt[i] THEN
            remaining[i] := -1; -- nothing is told of it
        ELSIF names[i] = 'concurrentOrdersPerAccount' THEN
            -- Instead of a row's lock, as there is nothing to write. Who would have to
            -- wait for it looks before: of a crowd that is over its limit nobody waits.
            -- Each count is a statement of its own: it sees what the one before has left.
            turn := hashtextextended(names[i] || '/' || subjects[i], 0);
            held := pg_try_advisory_xact_lock(turn);
            LOOP
                SELECT count(*) INTO used FROM (
                    SELECT FROM orders o
                    WHERE CASE WHEN o.status IN ('pending', 'ready') THEN o.account_id END = account AND o.expires_at > now()
                    LIMIT most[i]) unfinished;
                EXIT WHEN held OR used >= most[i] AND NOT dry[i];
                PERFORM pg_advisory_xact_lock(turn);
                held := true;
            END LOOP;
            taken := used < most[i];
            remaining[i] := greatest(most[i] - used - 1, 0);
            wait := 0;
        ELSIF emissions[i] = 0 AND checks[i] THEN
            taken := seen[i] < most[i]; -- else it is dry
            remaining[i] := greatest(most[i] - seen[i], 0);
        ELSIF emissions[i] = 0 THEN -- failures in a row, which are counted and not refused
            INSERT INTO limits AS k (name, subject, tat, failures, due)
            SELECT names[i], subjects[i], c.lapse, 1, c.lapse
            FROM (SELECT clock_timestamp() + interval '90 days' AS lapse) c
            ON CONFLICT (name, subject) DO UPDATE
            SET tat = EXCLUDED.tat, due = EXCLUDED.due,
                failures = 1 + CASE WHEN k.tat > clock_timestamp() THEN k.failures ELSE 0 END
            RETURNING most[i] - k.failures INTO used;
            remaining[i] := greatest(used, 0);
        ELSE
            used := seen[i];
            taken := used <= emissions[i] * (most[i] - 1);
            IF NOT checks[i] THEN
                -- One statement: who waited for the row's lock goes on from what the one
                -- before has left, by the clock of that moment. Due is computed after tat,
                -- by a clock that is no earlier.
                step := emissions[i] * interval '1 microsecond';
                kept := clock_timestamp() + step;
                INSERT INTO limits AS k (name, subject, tat, due)
                VALUES (names[i], subjects[i], kept, date_trunc('hour', kept) + interval '1 hour')
                ON CONFLICT (name, subject) DO UPDATE
                SET tat = greatest(k.tat, clock_timestamp()) + step,
                    due = date_trunc('hour', greatest(k.tat, clock_timestamp()) + step) + interval '1 hour'
                WHERE k.tat <= clock_timestamp() + (most[i] - 1) * step
                RETURNING k.tat INTO kept;
                taken := FOUND;
                IF NOT taken THEN
                    SELECT k.tat INTO kept FROM limits k WHERE k.name = names[i] AND k.subject = subjects[i];
                END IF;
                used := microseconds_until(kept);
            END IF;
            reset[i] := greatest(used, 0);
            remaining[i] := greatest((emissions[i] * most[i] - reset[i]) / emissions[i], 0);
            wait := greatest(used - emissions[i] * (most[i] - 1), 0);
        END IF;
        exceeded[i] := NOT taken;
        IF NOT taken AND NOT dry[i] THEN
            refused := i;
            EXIT;
        END IF;
    END LOOP;
    IF refused IS NULL THEN
        wait := NULL;
        told := set_config('acme.spent', 'yes', true);
        RETURN;
    END IF;

    -- Between the look and its turn another took the last. What was taken before is
    -- given back: its rows are locked still, so nobody has seen it.
    FOR i IN 1 .. refused - 1 LOOP
        IF NOT checks[i] AND NOT exceeded[i] AND remaining[i] >= 0 AND names[i] <> 'concurrentOrdersPerAccount' THEN
            UPDATE limits k
            SET tat = k.tat - emissions[i] * interval '1 microsecond',
                failures = k.failures - CASE WHEN emissions[i] = 0 THEN 1 ELSE 0 END
            WHERE k.name = names[i] AND k.subject = subjects[i];
        END IF;
    END LOOP;
    IF renewal THEN
        UPDATE limits k SET tat = k.tat - unit WHERE k.name = 'renewals' AND k.subject = renewals(account, name_set);
    END IF;
    told := set_config('acme.refused', 'yes', true);
END $$;
-- +goose StatementEnd

-- Gives back what a transaction has spent, by ending it: what it was to pay for was
-- not done.
-- +goose StatementBegin
CREATE FUNCTION abandon() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'ACME1', MESSAGE = 'what was to be paid for was not done';
END $$;
-- +goose StatementEnd

-- The policy of limits in force: one row, none where it is the built-in one. Its
-- generation counts the changes, from the time at which it was first set.
CREATE TABLE rate_limit_policy (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    generation bigint  NOT NULL,
    policy     jsonb   NOT NULL
);

-- Who serves, and by which generation: a crash of the database forgets what is
-- reported anew within a second.
CREATE UNLOGGED TABLE replicas (
    name        text        PRIMARY KEY,
    generation  bigint      NOT NULL,
    reported_at timestamptz NOT NULL
) WITH (fillfactor = 50);
