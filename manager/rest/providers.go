package rest

import (
	"context"
	"net/http"

	"github.com/darter-p2p/darter/manager/model"
)

// ProviderBody is what may be said of an OIDC provider.
type ProviderBody struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	// ClientSecret is never shown; absent in an update it stays.
	ClientSecret string   `json:"client_secret,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
	Roles        []string `json:"roles"`
}

func (b ProviderBody) over(p *model.Provider) *model.Provider {
	p.Name, p.Issuer, p.ClientID, p.Scopes, p.Roles = b.Name, b.Issuer, b.ClientID, b.Scopes, b.Roles
	if b.ClientSecret != "" {
		p.ClientSecret = b.ClientSecret
	}
	return p
}

func (a *API) providerRoutes() []route {
	check := func(ctx context.Context, p *model.Provider) error {
		if err := p.Validate(); err != nil {
			return err
		}
		return a.Guard.CheckRoles(ctx, p.Roles)
	}
	return []route{
		op(http.MethodGet, "/providers", "listProviders", "Lists OIDC providers.", read("providers"), paged(searched),
			func(ctx context.Context, c *call, _ none) (Page[model.Provider], error) {
				return list[model.Provider](ctx, a, c, nil, nil)
			}),
		op(http.MethodPost, "/providers", "createProvider", "Makes an OIDC provider known.", write("providers"), nil,
			func(ctx context.Context, _ *call, in ProviderBody) (*model.Provider, error) {
				p := in.over(&model.Provider{})
				if err := check(ctx, p); err != nil {
					return nil, err
				}
				return p, a.Store.CreateProvider(ctx, p, a.Now())
			}),
		op(http.MethodGet, "/providers/{id}", "getProvider", "Returns an OIDC provider.", read("providers"), nil, get[model.Provider](a)),
		op(http.MethodPut, "/providers/{id}", "updateProvider", "Writes all of an OIDC provider.", write("providers"), nil,
			func(ctx context.Context, c *call, in ProviderBody) (*model.Provider, error) {
				p, err := byID[model.Provider](ctx, a, c)
				if err != nil {
					return nil, err
				}
				if err := check(ctx, in.over(p)); err != nil {
					return nil, err
				}
				return p, a.Store.UpdateProvider(ctx, p, a.Now())
			}),
		op(http.MethodDelete, "/providers/{id}", "deleteProvider", "Deletes an OIDC provider; its users stay.", write("providers"), nil, remove(a, a.Store.DeleteProvider)),
	}
}
