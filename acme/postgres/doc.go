// Package postgres is the store: accounts, orders, authorizations with the queue
// of their validations, certificates, issuers and nonces, in one schema of a
// Postgres database (15 or newer).
//
// It promises that each method happens whole or not at all, whatever crashes and
// however many replicas call; that a change starts from the state that it names,
// or is refused with an [acme.StateError]; that what issuance rests on (an order,
// the result of a validation, a certificate) is on disk when the method returns;
// and that a database which cannot be asked is an [acme.ErrUnavailable]. Time is
// the database's clock, of which there is one.
//
// It does not know what the objects mean to a client (acme/server), how
// identifiers are proved (acme/validation) or certificates made (acme/issuance).
//
// # Round trips
//
// A method costs one round trip: its statements are sent together and the server
// runs them as one transaction. [Store.FinalizeOrder], which signs in the middle,
// costs two, unless this replica made the order. The pattern is "change, then look": the first statement changes what
// it may, the last reads the object as it is now, so that a refused change knows
// why without asking again.
//
// # Lock order
//
// Whoever locks several rows locks orders first, by ascending ID, then
// authorizations; accounts before orders. So no two transactions wait for each
// other.
package postgres
