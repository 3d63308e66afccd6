package tallyd.fleet.config;

import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.regex.Pattern;

/** The metrics that a glob matches are grouped by these lists of tags, in these windows. */
public record GroupRule(Pattern match, List<List<String>> by, List<Duration> windows, String gauge)
        implements Serializable {

    public boolean matches(String metric) {
        return match.matcher(metric).matches();
    }

    /** {@code *} stands for any text, dots included, and {@code ?} for one character, as in tallyd's `select`. */
    static Pattern glob(String glob) {
        StringBuilder regex = new StringBuilder();
        for (int i = 0; i < glob.length(); i++) {
            switch (glob.charAt(i)) {
                case '*' -> regex.append(".*");
                case '?' -> regex.append('.');
                default -> regex.append(Pattern.quote(glob.substring(i, i + 1)));
            }
        }
        return Pattern.compile(regex.toString(), Pattern.DOTALL);
    }
}
