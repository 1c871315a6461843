package doctor

import "fmt"

func ok(format string, a ...any) Finding {
	return Finding{Level: OK, Found: fmt.Sprintf(format, a...)}
}

func skip(format string, a ...any) Finding {
	return Finding{Level: Skip, Found: fmt.Sprintf(format, a...)}
}

// warn and fail end with what to do: do is a format of its own, without arguments.
func warn(do, format string, a ...any) Finding {
	return Finding{Level: Warn, Found: fmt.Sprintf(format, a...), Do: do}
}

func fail(do, format string, a ...any) Finding {
	return Finding{Level: Fail, Found: fmt.Sprintf(format, a...), Do: do}
}
