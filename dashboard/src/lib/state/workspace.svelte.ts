// What every page of a signed-in person stands on: who they are, their teams, the team they act in.
import { api, take } from '$lib/api/client';
import type { Me, Role, Team } from '$lib/api/types';
import { Resource } from './resource.svelte';
import { session } from './session.svelte';

class Workspace {
	me = new Resource<Me>(() => take(api.GET('/v1/me')));
	teams = new Resource<Team[]>(() => take(api.GET('/v1/teams')));
	/** The team as the server last had it, never as a token claims. */
	team = $derived(this.teams.data?.find((team) => team.id === session.teamId));
	role: Role | undefined = $derived(this.team?.role);
	leads = $derived(this.role === 'owner' || this.role === 'admin');
	/** The list has arrived and has no team in it. */
	teamless = $derived(this.teams.data !== undefined && this.team === undefined);

	async refresh(): Promise<void> {
		await Promise.all([this.me.refresh(), this.teams.refresh()]);
	}

	reset(): void {
		this.me.data = undefined;
		this.teams.data = undefined;
	}

	async enter(teamId: string): Promise<void> {
		session.accept(await take(api.POST('/v1/auth/switch-team', { body: { team_id: teamId } })));
	}

	/** After a team was left or deleted: the next one, or none. */
	async enterNext(gone: string): Promise<void> {
		const teams = await take(api.GET('/v1/teams'));
		const next = teams.find((team) => team.id !== gone);
		if (next) await this.enter(next.id);
		else await this.refresh();
	}
}

export const workspace = new Workspace();
