// Who may do what in a team. The server decides; this decides what is offered.
import type { Member, Role, Team } from '$lib/api/types';

/** Nobody changes or removes the owner, nor their own role. */
export function mayManage(role: Role | undefined, me: string | undefined, other: Member): boolean {
	return (role === 'owner' || role === 'admin') && other.role !== 'owner' && other.user_id !== me;
}

/** Why the team can be neither left nor deleted; undefined when it can. Off until the list of teams is there. */
export function held(teams: Team[] | undefined): string | undefined {
	if (!teams) return 'The list of your teams has not arrived yet.';
	if (teams.length < 2) return 'This is your only team. Create another one first.';
	return undefined;
}
