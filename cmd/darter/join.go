package main

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/manager/model"
)

func joinTokenCommand() *cobra.Command {
	m := &managerClient{}
	c := &cobra.Command{
		Use:   "join-token",
		Short: "Make and revoke tokens with which hosts become members",
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("create, list or revoke? (see darter join-token --help): %w", errdefs.ErrInvalidArgument)
		},
	}
	m.flags(c)
	c.AddCommand(joinTokenCreateCommand(m), joinTokenListCommand(m), joinTokenRevokeCommand(m))
	return c
}

func joinTokenCreateCommand(m *managerClient) *cobra.Command {
	var role, life, comment, format, output string
	var uses int64
	c := &cobra.Command{
		Use:   "create --role ROLE",
		Short: "Make a join token and print it, this once",
		Long: `create makes a token for [join] of darterd or darter-scheduler. It lets hosts of one
role join, for a time, and prints it once: the manager keeps its hash only.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			d, err := config.ParseDuration(life)
			if err != nil {
				return fmt.Errorf("--life: %w: %w", err, errdefs.ErrInvalidArgument)
			}
			var made struct {
				Token  model.JoinToken `json:"token"`
				Secret string          `json:"secret"`
			}
			body := map[string]any{"role": role, "expires_in_seconds": int64(d.Duration() / time.Second), "uses": uses, "comment": comment}
			if err := m.ask(c.Context(), "POST", "/join-tokens", body, &made); err != nil {
				return err
			}
			switch {
			case output != "":
				if err := os.WriteFile(output, []byte(made.Secret+"\n"), 0o600); err != nil {
					return diskError(err)
				}
			case format == "json":
				return encode(c.OutOrStdout(), made)
			default:
				fmt.Fprintln(c.OutOrStdout(), printable(made.Secret))
			}
			fmt.Fprintf(c.ErrOrStderr(), "token %d: for %d %s(s), until %s\n", made.Token.ID, made.Token.Uses, made.Token.Role, made.Token.ExpiresAt.Local().Format(time.DateTime))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&role, "role", "", "what the hosts will be: node, seed or scheduler")
	f.StringVar(&life, "life", "1h", "how long it lets hosts join, such as 1h or 7d; at most 30d")
	f.Int64Var(&uses, "uses", 1, "how many hosts it lets join")
	f.StringVar(&comment, "comment", "", "what it is for")
	f.StringVar(&output, "output", "", "file to write it to, which only its owner may read, instead of printing it")
	formatFlag(c, &format)
	require(c, "role")
	return c
}

func joinTokenListCommand(m *managerClient) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "list", Short: "List join tokens, the newest first", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			var page struct {
				Items []model.JoinToken `json:"items"`
			}
			if err := m.ask(c.Context(), "GET", "/join-tokens?per_page=1000", nil, &page); err != nil {
				return err
			}
			if format == "json" {
				return encode(c.OutOrStdout(), page.Items)
			}
			t := newTable("><>", "TOKEN", "ROLE", "LEFT", "STATE", "UNTIL", "AUTHOR", "COMMENT")
			for _, one := range page.Items {
				t.row(strconv.FormatInt(one.ID, 10), string(one.Role), fmt.Sprintf("%d/%d", one.UsesLeft, one.Uses), tokenState(one, time.Now()),
					one.ExpiresAt.Local().Format(time.DateTime), one.Author, clip(one.Comment, 40))
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	formatFlag(c, &format)
	return c
}

// tokenState says whether a token lets hosts in.
func tokenState(t model.JoinToken, now time.Time) string {
	switch {
	case t.Revoked:
		return "revoked"
	case !now.Before(t.ExpiresAt.Time):
		return "expired"
	case t.UsesLeft <= 0:
		return "used up"
	}
	return "good"
}

func joinTokenRevokeCommand(m *managerClient) *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Short: "Make a join token worthless, by its number; hosts that joined with it stay", Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id <= 0 {
				return fmt.Errorf("token %q, want its number (darter join-token list): %w", args[0], errdefs.ErrInvalidArgument)
			}
			return m.ask(c.Context(), "POST", fmt.Sprintf("/join-tokens/%d/revoke", id), nil, nil)
		},
	}
}

func certificateCommand() *cobra.Command {
	m := &managerClient{}
	c := &cobra.Command{
		Use:   "certificate",
		Short: "List and revoke the certificates of members",
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("list or revoke? (see darter certificate --help): %w", errdefs.ErrInvalidArgument)
		},
	}
	m.flags(c)
	c.AddCommand(certificateListCommand(m), revokeCommand(m))
	return c
}

func certificateListCommand(m *managerClient) *cobra.Command {
	var role, name, format string
	var revoked bool
	c := &cobra.Command{
		Use: "list", Short: "List certificates that a manager gave or an operator revoked, the newest first", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			q := url.Values{"per_page": {"1000"}}
			for key, value := range map[string]string{"role": role, "name": name} {
				if value != "" {
					q.Set(key, value)
				}
			}
			if revoked {
				q.Set("revoked", "true")
			}
			var page struct {
				Items []model.Certificate `json:"items"`
			}
			if err := m.ask(c.Context(), "GET", "/certificates?"+q.Encode(), nil, &page); err != nil {
				return err
			}
			if format == "json" {
				return encode(c.OutOrStdout(), page.Items)
			}
			t := newTable("<<", "SERIAL", "ROLE", "NAME", "UNTIL", "REVOKED", "BY")
			for _, one := range page.Items {
				at := "-"
				if !one.RevokedAt.IsZero() {
					at = one.RevokedAt.Local().Format(time.DateTime)
				}
				t.row(one.Serial, or(string(one.Role), "-"), or(one.Name, "-"), one.ExpiresAt.Local().Format(time.DateTime), at, or(one.RevokedBy, "-"))
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	c.Flags().StringVar(&role, "role", "", "only of this role: node, seed or scheduler")
	c.Flags().StringVar(&name, "name", "", "only of this member")
	c.Flags().BoolVar(&revoked, "revoked", false, "only those that were revoked")
	formatFlag(c, &format)
	return c
}

// revokeCommand puts a member out.
func revokeCommand(m *managerClient) *cobra.Command {
	var role, serial string
	c := &cobra.Command{
		Use:   "revoke NAME | revoke --serial NUMBER",
		Short: "Put a member out: all its certificates, or one by its number",
		Long: `revoke makes a member's certificates worthless: every member refuses them within seconds
and closes what the host has open. The host joins again with a token that is made after
this. A certificate of darter ca is revoked by its number, which "openssl x509 -serial"
shows.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]string{"serial": serial}
			switch {
			case (serial == "") == (len(args) == 0):
				return fmt.Errorf("a NAME or --serial, one of the two: %w", errdefs.ErrInvalidArgument)
			case serial == "":
				body = map[string]string{"role": role, "name": args[0]}
			}
			var out struct {
				Certificates []model.Certificate `json:"certificates"`
				Tokens       []model.JoinToken   `json:"tokens"`
			}
			if err := m.ask(c.Context(), "POST", "/certificates/revoke", body, &out); err != nil {
				return err
			}
			for _, one := range out.Certificates {
				fmt.Fprintf(c.OutOrStdout(), "revoked %s of %s %s\n", printable(one.Serial), or(string(one.Role), "?"), or(printable(one.Name), "?"))
			}
			for _, t := range out.Tokens {
				fmt.Fprintf(c.ErrOrStderr(), "it joined with token %d, which lets %d more hosts in until %s: where it may be in wrong hands, darter join-token revoke %d\n",
					t.ID, t.UsesLeft, t.ExpiresAt.Local().Format(time.DateTime), t.ID)
			}
			return nil
		},
	}
	c.Flags().StringVar(&role, "role", "node", "the member's role: node, seed or scheduler")
	c.Flags().StringVar(&serial, "serial", "", "number of one certificate, hexadecimal in small letters")
	return c
}
