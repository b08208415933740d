#!/usr/bin/perl
# Asks the rotation engine which number to show for a call of VICIdial. An AGI script, installed as
# /var/lib/asterisk/agi-bin/rotary-pick.pl. Needs modules of Perl itself alone; IO::Socket::SSL for https.
#
#   AGI(rotary-pick.pl,GROUP_ID,CALLERID(name))      picks a caller ID and reserves one call of its cap
#   AGI(rotary-pick.pl,release,GROUP_ID,PICK_ID)     gives a pick back, if the call is not placed
#
# VICIdial names its calls V or M, nine digits of the time, and ten of the lead: so a sticky group finds the lead's number.
#
# Sets ROTARY_STATUS to PICKED; to NONE when nothing is eligible; or to ERROR when the engine gives no answer. Dial only
# with PICKED. Sets ROTARY_NUMBER, ROTARY_CALLER, ROTARY_PICK, ROTARY_GROUP, LEAD_ID and ROTARY_RETRY_AFTER, also for the
# channels that Dial creates, where rotary-placed publishes the call.
#
# /etc/rotary/engine.env has ROTARY_ENGINE_URL and ROTARY_ENGINE_TOKEN, a line each; make it readable by Asterisk alone.
# The environment's variables of the same names go first.

use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use Time::HiRes qw(sleep time);

use constant { DEADLINE_SECONDS => 4, ATTEMPT_SECONDS => 1.5 };
my $CONFIG = $ENV{ROTARY_ENGINE_CONFIG} // '/etc/rotary/engine.env';
$| = 1;

# A variable of the environment, or of the configuration file. Dies with what is missing.
sub setting {
    my ($name) = @_;
    return $ENV{$name} if defined $ENV{$name};
    open(my $file, '<', $CONFIG) or die "cannot read $CONFIG: $!\n";
    while (my $line = <$file>) { return $1 if $line =~ /^$name=(.*?)\s*$/; }
    die "$CONFIG has no $name\n";
}

# A name of this request: the pick is made once, however often the request arrives.
sub new_key {
    open(my $random, '<:raw', '/dev/urandom') or die "cannot read /dev/urandom: $!\n";
    read($random, my $bytes, 16) == 16 or die "cannot read /dev/urandom\n";
    return unpack('H*', $bytes);
}

# The engine's last answer, as HTTP::Tiny gives it. Asks again with the same idempotency key until the deadline.
sub ask {
    my ($method, $path, $wishes) = @_;
    my %request = (headers => { 'Authorization' => 'Bearer ' . setting('ROTARY_ENGINE_TOKEN') });
    if ($wishes) {
        $request{headers}{'Content-Type'} = 'application/json';
        $request{headers}{'Idempotency-Key'} = new_key();
        $request{content} = encode_json($wishes);
    }
    my $url = setting('ROTARY_ENGINE_URL') =~ s{/+$}{}r . $path;
    my $http = HTTP::Tiny->new(timeout => ATTEMPT_SECONDS, verify_SSL => 1, max_redirect => 0);
    my $deadline = time + DEADLINE_SECONDS;
    for (my $delay = 0.05; ; $delay *= 2) {
        my $answer = $http->request($method, $url, \%request);
        # HTTP::Tiny reports an answer that did not come as 599.
        my $may_change = $answer->{status} =~ /^(408|429|5..)$/;
        my $wait = $delay + ($answer->{headers}{'retry-after'} // 0);
        return $answer if !$may_change || time + $wait >= $deadline;
        sleep($wait);
    }
}

# The JSON object of an answer; an empty one if it is none.
sub object {
    my ($answer) = @_;
    my $value = eval { decode_json($answer->{content}) };
    return ref $value eq 'HASH' ? $value : {};
}

# What is safe inside the quotes of an AGI command.
sub plain {
    my ($text) = @_;
    $text =~ s/[^A-Za-z0-9 ._:+@\/,-]//g;
    return substr($text, 0, 200);
}

sub command { print "$_[0]\n"; readline(STDIN); }  # and Asterisk's answer
sub say_so { command('VERBOSE "rotary-pick: ' . plain($_[0]) . '" 1'); }
sub set_variable { command("SET VARIABLE __$_[0] \"" . plain($_[1] // '') . '"'); }

sub group_path {
    my ($group) = @_;
    $group =~ /^[1-9][0-9]{0,18}$/ or die "the group is not a number: $group\n";
    return "/api/caller-id-groups/$group/picks";
}

# The pick. Sets ROTARY_STATUS in any case.
sub pick {
    my ($group, $lead) = @_;
    my $answer = ask('POST', group_path($group), length $lead ? { lead_id => $lead } : {});
    my $told = object($answer);
    my $picked = ref $told->{data} eq 'HASH' ? $told->{data} : {};
    if ($answer->{status} == 201 && $picked->{id}) {
        set_variable('ROTARY_NUMBER', $picked->{number});
        set_variable('ROTARY_CALLER', $picked->{caller_id_id});
        set_variable('ROTARY_PICK', $picked->{id});
        set_variable('ROTARY_GROUP', $picked->{group_id});
        set_variable('LEAD_ID', $lead);
        set_variable('ROTARY_RETRY_AFTER', '');
        return set_variable('ROTARY_STATUS', 'PICKED');
    }
    my $why = $told->{message} // ($answer->{status} == 599 ? $answer->{content} : "the engine answered $answer->{status}");
    say_so($why);
    not_picked($answer->{status} == 409 ? 'NONE' : 'ERROR', $answer->{headers}{'retry-after'});
}

sub not_picked {
    my ($status, $retry_after) = @_;
    set_variable("ROTARY_$_", '') for qw(NUMBER CALLER PICK);  # of an earlier pick on this channel
    set_variable('ROTARY_RETRY_AFTER', $retry_after);
    set_variable('ROTARY_STATUS', $status);
}

sub release {
    my ($group, $pick) = @_;
    $pick =~ /^[0-9A-Za-z-]{1,64}$/ or die "the pick's id is invalid: $pick\n";
    my $answer = ask('DELETE', group_path($group) . "/$pick");
    say_so('not released: ' . (object($answer)->{message} // $answer->{status})) if $answer->{status} != 204;
}

while (defined(my $line = <STDIN>)) { last if $line =~ /^\s*$/; }  # Asterisk describes the channel, up to an empty line
my ($group, $name, $pick) = map { $_ // '' } @ARGV[0 .. 2];
if ($group eq 'release') {
    eval { release($name, $pick); 1 } or say_so($@);
} else {
    my $lead = $name =~ /^[VM][0-9]{9}0*([0-9]{1,10})$/ ? $1 : '';
    eval { pick($group, $lead); 1 } or do { say_so($@); not_picked('ERROR') };
}
