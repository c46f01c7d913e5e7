package server

import (
	"net/http"
	"net/url"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// ordersPage is how many orders one page of the list has.
const ordersPage = 100

// orders lists the account's orders that are not finished, a page at a time (RFC
// 8555 §7.1.2.1, which leaves it to the server which to list). Two round trips.
func (s *Server) orders(r *request) (*response, error) {
	id, err := r.id()
	if err != nil {
		return nil, err
	}
	if id != r.account.ID {
		return nil, unauthorized("this account belongs to another key")
	}
	var after acme.ID
	if cursor := r.query().Get("cursor"); cursor != "" {
		if after, err = acme.ParseID(cursor); err != nil {
			return nil, notFound("no such page")
		}
	}
	ids, err := s.config.Store.UnfinishedOrders(r.ctx, id, after, ordersPage)
	if err != nil {
		return nil, err
	}
	list := struct {
		Orders []string `json:"orders"`
	}{Orders: make([]string, len(ids))}
	for i, order := range ids {
		list.Orders[i] = r.base.order(order)
	}
	resp := &response{status: http.StatusOK, body: list}
	if len(ids) == ordersPage {
		next := r.base.orders(id) + "?" + url.Values{"cursor": {ids[len(ids)-1].String()}}.Encode()
		resp.links = append(resp.links, link(next, "next"))
	}
	return resp, nil
}
